// Servers by public URLs through the daemon's one port.

import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';
import { freePort, install, reaches, withDaemon } from './support.js';

const VARIABLES = { SERVISOR_PROXY: '1', SERVISOR_PUBLIC_URL: 'https://abc-{port}.sandbox.example' };

/** What is answered on the daemon's port under another name; `fetch` does not let one choose the host. */
async function visit(daemon, url) {
  const { host, pathname } = new URL(url);
  const { hostname, port } = new URL(daemon.url);
  const [response] = await once(http.get({ hostname, port, path: pathname, headers: { host } }), 'response');
  const pieces = await response.toArray();
  return { status: response.statusCode, text: Buffer.concat(pieces).toString() };
}

test('the URL of a server is the one that getUrl makes, and leads to it', withDaemon(async ({ daemon, sandbox, root }) => {
  install(root, 'node', 'app');
  const asked = await freePort();
  await sandbox.server.start({ slug: 'api', start: 'node server.js', path: 'app', port: asked });
  const { url, port } = await reaches(sandbox, 'api', 'ready');
  // The sandbox as it is seen from outside, behind a TLS proxy.
  const outside = daemon.sandbox({ sandboxUrl: 'https://abc.sandbox.example' });
  assert.equal(url, await outside.getUrl({ port }));
  assert.deepEqual(await visit(daemon, url), { status: 200, text: 'hello' });
  assert.deepEqual(await visit(daemon, `${url}/env/SERVISOR_URL`), { status: 200, text: url });
  assert.equal((await visit(daemon, await outside.getUrl({ port: await freePort() }))).status, 404);
}, VARIABLES));
