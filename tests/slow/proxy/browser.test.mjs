// Unmodified applications behind the public URLs, used by a real browser: `make test-proxy`.
//
// Each is visited directly first, which has to work with or without servisor, then by its name under localhost, then by a template with
// its port. The name of the template resolves in this browser alone.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import { Daemon } from '../../browser/support.mjs';
import { APPS } from './apps.mjs';

const { chromium } = createRequire(new URL('../../browser/', import.meta.url))('playwright-core');
const SUFFIX = 'sandbox.example';
/** How long a page may take, in ms: some compile at the first request. */
const LIMIT = 90_000;
const PLACE = path.join(process.env.PROXY_APPS, 'apps');
const ONLY = process.env.APPS?.split(',');

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', `--host-resolver-rules=MAP *.${SUFFIX} 127.0.0.1`],
});
const daemon = new Daemon();
daemon.scratch = fs.mkdtempSync(path.join(process.env.PROXY_APPS, 'daemon-'));
const port = await freePort();
daemon.options = ['--proxy', '--public-url', `http://box-{port}.${SUFFIX}:${port}`];
await daemon.boot(port);
after(async () => {
  await browser.close();
  await daemon.remove();
});

for (const [slug, { files, start, environment, visit }] of Object.entries(APPS)) {
  if (ONLY && !ONLY.includes(slug)) continue;
  test(slug, { timeout: 6 * LIMIT }, async (t) => {
    const folder = path.join(PLACE, slug);
    fs.rmSync(folder, { recursive: true, force: true });
    for (const [name, text] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      fs.writeFileSync(path.join(folder, name), text);
    }
    const own = await freePort();
    await daemon.api('POST', '/servers', {
      slug, path: folder, start, port: own, strict_port: true, environment: { PROXY_VENV: process.env.PROXY_VENV, ...environment },
    });
    try {
      const { server } = await daemon.api('GET', `/servers/${slug}?wait_for=ready&timeout_ms=${LIMIT}`);
      assert.equal(server.status, 'ready', JSON.stringify(server));
      assert.equal(server.url, `http://box-${own}.${SUFFIX}:${port}`);
      const bases = { directly: `http://localhost:${own}`, 'by name': `http://${slug}.localhost:${port}`, 'by port': server.url };
      for (const [how, base] of Object.entries(bases)) {
        await t.test(how, () => visited(base, folder, visit));
      }
    } catch (error) {
      const { logs } = await daemon.api('GET', `/servers/${slug}/logs?tail=40`);
      error.message += `\n${logs}`;
      throw error;
    } finally {
      await daemon.api('DELETE', `/servers/${slug}`);
    }
  });
}

test('the control: a framework that is asked by its public name refuses', { skip: ONLY && !ONLY.includes('vite') }, async () => {
  const own = await freePort();
  await daemon.api('POST', '/servers', { slug: 'control', path: path.join(PLACE, 'vite'), start: APPS.vite.start, port: own });
  await daemon.api('GET', `/servers/control?wait_for=ready&timeout_ms=${LIMIT}`);
  const asked = http.get({ host: 'localhost', port: own, headers: { Host: `box-${own}.${SUFFIX}` } });
  const [answer] = await once(asked, 'response');
  answer.resume();
  assert.equal(answer.statusCode, 403);
  await daemon.api('DELETE', '/servers/control');
});

async function visited(base, folder, visit) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.sockets = [];
  page.received = new Set();
  page.on('websocket', (socket) => {
    page.sockets.push(socket);
    socket.on('framereceived', () => page.received.add(socket));
  });
  const said = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('response', (answer) => answer.status() >= 400 && said.push(`${answer.status()} ${answer.url()}`));
  const before = new Map();
  const edit = async (name, from, to) => {
    const file = path.join(folder, name);
    const text = fs.readFileSync(file, 'utf8');
    before.set(file, text);
    assert.ok(text.includes(from));
    fs.writeFileSync(file, text.replace(from, to));
  };
  try {
    await visit({ page, base, edit });
  } catch (error) {
    error.message += `\nat ${page.url()}:\n${said.join('\n')}\n${(await page.content().catch(() => '')).slice(0, 2000)}`;
    throw error;
  } finally {
    await context.close();
    for (const [file, text] of before) fs.writeFileSync(file, text);
  }
}
