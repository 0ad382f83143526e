// The shutdown sequence: SIGTERM, up to stop_timeout_ms, SIGKILL.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, canListen, exists, freePort, install, logged, withDaemon } from './support.js';

test('SIGTERM lets a server finish', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const { pid } = await sandbox.server.start({
    slug: 'api', start: 'node server.js', path: 'app', port, stop_timeout_ms: 15000, environment: { DRAIN_MS: '300' },
  });
  await ask(port);
  await sandbox.server.stop('api');
  assert.ok(!exists(pid));
  assert.ok(await canListen(port));
  const server = await sandbox.server.retrieve('api');
  assert.deepEqual([server.status, server.exit_code], ['stopped', 0]);
  const { logs } = await sandbox.server.logs('api', { stream: 'stdout' });
  assert.match(logs, /SIGTERM: closing\nclosed\n$/);
}));

test('SIGKILL if it is still running after stop_timeout_ms', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const { pid } = await sandbox.server.start({
    slug: 'api', start: 'node server.js', path: 'app', port, stop_timeout_ms: 400, environment: { STUBBORN: '1' },
  });
  await ask(port);
  const begin = performance.now();
  await sandbox.server.stop('api');
  const took = performance.now() - begin;
  assert.ok(took >= 390, `it had ${took} ms`);
  assert.ok(!exists(pid));
  const server = await sandbox.server.retrieve('api');
  assert.deepEqual([server.status, server.exit_code, server.exit_signal], ['stopped', 137, 'SIGKILL']);
  assert.match((await sandbox.server.logs('api')).logs, /SIGTERM: closing/, 'it was asked first');
}));

test('a stop waits for the server behind npm', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  await sandbox.server.start({
    slug: 'web', start: 'npm run dev', path: 'app', port, environment: { DRAIN_MS: '500' },
  });
  await ask(port);
  const output = await logged(sandbox, 'web', 'pid', { stream: 'stderr' });
  const pid = Number(output.match(/pid (\d+)/)[1]);
  await sandbox.server.stop('web');
  // npm itself is gone long before.
  assert.ok(!exists(pid));
  assert.ok(await canListen(port));
  assert.match((await sandbox.server.logs('web')).logs, /closed\n/);
}));

test('a restart waits for the last run to finish', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  await sandbox.server.start({
    slug: 'web', start: 'npm run dev', path: 'app', port, strict_port: true, environment: { DRAIN_MS: '300' },
  });
  await ask(port);
  const server = await sandbox.server.restart('web');
  assert.equal(server.status, 'starting');
  assert.equal(await ask(port), 'hello');
  const { logs } = await sandbox.server.logs('web', { stream: 'stdout' });
  const order = [...logs.matchAll(/listening on|closed/g)].map(([word]) => word);
  assert.deepEqual(order, ['listening on', 'closed', 'listening on']);
}));

test('whatever a server has put into the background goes with it', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({
    slug: 'parent', start: 'setsid sleep 1000 & echo child $!; exec sleep 1000', stop_timeout_ms: 5000,
  });
  const pid = Number((await logged(sandbox, 'parent', '\n')).match(/child (\d+)/)[1]);
  assert.ok(exists(pid));
  await sandbox.server.delete('parent');
  assert.ok(!exists(pid));
}));
