// README's set-up behind TLS: a wildcard domain of Caddy (from Debian) in front of the daemon, with the Caddyfile that README prints.
// In a network of its own, so that the ports of HTTP are free. `make test-slow`.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { blocks } from '../docs/markdown.mjs';
import { checkout, isolated, scratch } from '../docs/shell.mjs';

const DOMAIN = 'sandbox.example';
const caddyfile = blocks('README.md').find(({ text }) => text.startsWith(`*.${DOMAIN}`)).text;

/** Answers a handshake and each message of a WebSocket, and reports what it sees of a request. */
const SERVER = `
import { createHash } from 'node:crypto';
import http from 'node:http';
const server = http.createServer(({ headers, url }, response) => response.end(JSON.stringify({ headers, url, own: process.env.SERVISOR_URL })));
server.on('upgrade', ({ headers }, socket) => {
  const accept = createHash('sha1').update(headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
  // A text of five bytes, which is not masked.
  socket.write(Buffer.from([0x81, 5, ...Buffer.from('hello')]));
});
server.listen(process.env.PORT, '127.0.0.1');
`;

/** Waits for the first text of a WebSocket, over TLS. */
const CLIENT = `
import https from 'node:https';
const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg==', Host: process.argv[2] };
https.get({ host: '127.0.0.1', servername: process.argv[2], rejectUnauthorized: false, headers }).on('upgrade', (_, socket, first) => {
  const seen = (bytes) => { console.log(bytes.subarray(2).toString()); process.exit(0); };
  if (first.length) seen(first); else socket.once('data', seen);
});
setTimeout(() => process.exit(1), 20_000);
`;

test('behind Caddy, with TLS and a wildcard domain', { timeout: 200_000 }, () => {
  const directory = scratch();
  try {
    checkout(directory);
    fs.mkdirSync(path.join(directory, 'app'));
    fs.writeFileSync(path.join(directory, 'Caddyfile'), caddyfile);
    fs.writeFileSync(path.join(directory, 'app/server.mjs'), SERVER);
    fs.writeFileSync(path.join(directory, 'client.mjs'), CLIENT);
    const { status, stdout, stderr } = isolated(directory, `
export SERVISOR_STATE_DIR=state
servisor serve --proxy --root app --state-dir state --public-url 'https://abc-{port}.${DOMAIN}' >daemon.log 2>&1 &
answers || { cat daemon.log >&2; exit 1; }
caddy run --adapter caddyfile --config Caddyfile >caddy.log 2>&1 &
servisor run web -p 3000 -- node server.mjs
visit() { curl -sSk --max-time 10 --resolve "$1:443:127.0.0.1" "https://$1$2"; }
# Caddy makes its certificates first.
for _ in $(seq 300); do visit abc-3000.${DOMAIN} / >/dev/null 2>&1 && break; sleep 0.1; done
visit abc-3000.${DOMAIN} '/path?query' || tail -5 caddy.log >&2; echo
node client.mjs abc-3000.${DOMAIN}
visit abc-3001.${DOMAIN} /; echo
visit other.${DOMAIN} /health; echo
kill %1 %2
wait %1
`);
    const [ready, seen, socket, unknown, api] = stdout.trim().split('\n');
    const shown = `${stdout}${stderr}`;
    assert.equal(status, 0, shown);
    assert.equal(ready, `web is ready at https://abc-3000.${DOMAIN}`, shown);
    const { headers, url, own } = JSON.parse(seen);
    assert.deepEqual([url, own, headers.host], ['/path?query', `https://abc-3000.${DOMAIN}`, 'localhost:3000'], shown);
    assert.match(headers['x-forwarded-for'], /127\.0\.0\.1/, shown);
    assert.equal(socket, 'hello', shown);
    assert.equal(JSON.parse(unknown).code, 'no_such_server', shown);
    // A name without a port is no server's: it is the API's, whose token it needs for more than this.
    assert.equal(JSON.parse(api).status, 'ok', shown);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
