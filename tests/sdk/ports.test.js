// The port that a server asks for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, canListen, close, freePort, install, listen, reaches, withDaemon } from './support.js';

test('the port asked for, shown from the first answer on', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const server = await sandbox.server.start({ slug: 'api', start: 'node server.js', path: 'app', port, strict_port: false });
  assert.equal(server.port, port);
  assert.equal(await ask(port, '/env/PORT'), String(port));
}));

test('$PORT on the command line', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  await sandbox.server.start({ slug: 'files', start: 'python3 -m http.server $PORT', path: 'app', port });
  assert.match(await ask(port, '/package.json'), /"node-app"/);
}));

test('if taken, the next available one', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const other = await listen(port);
  const config = { start: 'node server.js', path: 'app', port };
  const first = await sandbox.server.start({ slug: 'first', ...config });
  assert.ok(first.port > port);
  assert.equal(first.requested_port, port);
  assert.equal(await ask(first.port, '/env/PORT'), String(first.port));
  // Also what another server holds is taken, whether or not it listens on it already.
  const second = await sandbox.server.start({ slug: 'second', ...config });
  assert.ok(second.port > port && second.port !== first.port);
  assert.equal(await ask(second.port, '/env/PORT'), String(second.port));
  await close(other);
}));

test('strict_port: fails if the port is not available', withDaemon(async ({ sandbox }) => {
  const port = await freePort();
  const config = { slug: 'api', start: 'sleep 1000', port, strict_port: true };
  const other = await listen(port);
  await assert.rejects(sandbox.server.start(config), new RegExp(`\\(409\\).*port ${port} `));
  assert.deepEqual(await sandbox.server.list(), [], 'nothing is kept of it');
  await close(other);
  assert.equal((await sandbox.server.start(config)).port, port);
  await assert.rejects(
    sandbox.server.start({ ...config, slug: 'other' }), new RegExp(`\\(409\\).*port ${port} .*\\bapi\\b`),
  );
}));

test('a PORT of its own wins', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const [asked, own] = [await freePort(), await freePort()];
  await sandbox.server.start({
    slug: 'api', start: 'node server.js', path: 'app', port: asked, environment: { PORT: String(own) },
  });
  assert.equal(await ask(own, '/env/PORT'), String(own));
}));

test('a stopped server gives its port back', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const config = { start: 'node server.js', path: 'app', port, strict_port: true };
  await sandbox.server.start({ slug: 'first', ...config });
  await ask(port);
  await sandbox.server.stop('first');
  assert.ok(await canListen(port));
  await sandbox.server.start({ slug: 'second', ...config });
  assert.equal(await ask(port), 'hello');
  // Now the first one can't have it back: its run fails, and says why.
  await sandbox.server.restart('first');
  assert.match((await reaches(sandbox, 'first', 'failed')).status_reason, new RegExp(`port ${port} .*second`));
}));
