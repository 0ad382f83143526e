// Start, list, retrieve, stop, start anew, restart, delete: the chapter 'Managed Servers' of the docs, top to bottom.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, exists, freePort, install, logged, reaches, withDaemon } from './support.js';

test('a simple server', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const server = await sandbox.server.start({ slug: 'web', start: 'npm run dev', path: 'app' });
  assert.equal(server.slug, 'web');
  assert.equal(server.status, 'starting');
  const output = await logged(sandbox, 'web', 'listening on');
  assert.equal(await ask(output.match(/listening on (\d+)/)[1]), 'hello');
  await reaches(sandbox, 'web', 'running', 'ready');
}));

test('a new server is described in full', withDaemon(async ({ sandbox, root }) => {
  const app = install(root, 'node', 'app');
  const port = await freePort();
  const before = Date.now();
  const server = await sandbox.server.start({
    slug: 'api',
    start: 'node server.js',
    path: 'app',
    port,
    environment: { NODE_ENV: 'production' },
    restart_policy: 'on-failure',
    max_restarts: 5,
    restart_delay_ms: 2000,
    stop_timeout_ms: 15000,
  });
  const { pid, created_at, updated_at, started_at, ...rest } = server;
  const expected = {
    slug: 'api',
    status: 'starting',
    start: 'node server.js',
    path: app,
    original_path: 'app',
    port,
    strict_port: false,
    environment: { NODE_ENV: 'production' },
    autostart: true,
    restart_policy: 'on-failure',
    max_restarts: 5,
    restart_count: 0,
    exit_code: null,
    // The client counts in nanoseconds, although the options are in milliseconds.
    restart_delay: 2_000_000_000,
    restart_delay_ms: 2000,
    stop_timeout: 15_000_000_000,
    stop_timeout_ms: 15000,
  };
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(rest[name], value, name);
  for (const time of [created_at, updated_at, started_at]) {
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    // The clocks are the same, but for what both round.
    assert.ok(Date.parse(time) >= before - 1 && Date.parse(time) <= Date.now() + 1, time);
  }
  // The process itself and not a shell.
  const output = await logged(sandbox, 'api', 'pid');
  assert.equal(pid, Number(output.match(/pid (\d+)/)[1]));
}));

test('what is left out has the defaults of the docs', withDaemon(async ({ sandbox, root }) => {
  const server = await sandbox.server.start({ slug: 'worker', start: 'sleep 1000' });
  const { restart_policy, max_restarts, restart_delay, stop_timeout, autostart, strict_port, path } = server;
  assert.deepEqual(
    { restart_policy, max_restarts, restart_delay, stop_timeout, autostart, strict_port, path },
    {
      restart_policy: 'never', max_restarts: 0, restart_delay: 1e9, stop_timeout: 10e9, autostart: true,
      strict_port: false, path: root,
    },
  );
  for (const absent of ['port', 'url', 'install', 'env_file', 'healthy', 'health_status']) {
    assert.ok(!(absent in server), absent);
  }
}));

test('list and retrieve', withDaemon(async ({ sandbox }) => {
  assert.deepEqual(await sandbox.server.list(), []);
  for (const slug of ['web', 'api', 'worker-2']) await sandbox.server.start({ slug, start: 'sleep 1000' });
  const running = await reaches(sandbox, 'api', 'running');
  const servers = await sandbox.server.list();
  assert.deepEqual(servers.map(({ slug }) => slug), ['api', 'web', 'worker-2']);
  assert.deepEqual(servers[0], running);
  assert.deepEqual(running.exit_code, null);
}));

test('stop keeps the configuration', withDaemon(async ({ sandbox }) => {
  const { pid } = await sandbox.server.start({ slug: 'api', start: 'sleep 1000', environment: { A: 'b' } });
  assert.equal(await sandbox.server.stop('api'), undefined);
  assert.ok(!exists(pid));
  const stopped = await sandbox.server.retrieve('api');
  assert.equal(stopped.status, 'stopped');
  assert.equal(stopped.pid, undefined);
  assert.deepEqual(stopped.environment, { A: 'b' });
  await sandbox.server.stop('api');
  assert.equal((await sandbox.server.retrieve('api')).status, 'stopped', 'stopped once more');
}));

test('delete stops and removes', withDaemon(async ({ sandbox }) => {
  const { pid } = await sandbox.server.start({ slug: 'api', start: 'echo secret; exec sleep 1000' });
  await logged(sandbox, 'api', 'secret');
  assert.equal(await sandbox.server.delete('api'), undefined);
  assert.ok(!exists(pid));
  assert.deepEqual(await sandbox.server.list(), []);
  await assert.rejects(sandbox.server.logs('api'), /\(404\).*"api"/);
  await sandbox.server.start({ slug: 'api', start: 'echo anew; exec sleep 1000' });
  assert.equal(await logged(sandbox, 'api', 'anew'), 'anew\n', 'its logs went, too');
}));

test('restart', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const first = await sandbox.server.start({ slug: 'api', start: 'node server.js', path: 'app', port });
  await ask(port);
  const server = await sandbox.server.restart('api');
  assert.equal(server.status, 'starting');
  assert.equal(server.port, port);
  assert.notEqual(server.pid, first.pid);
  assert.equal(server.restart_count, 0, 'only automatic ones are counted');
  assert.ok(!exists(first.pid));
  assert.equal(await ask(port), 'hello');
}));

test('restart works from any state', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'job', start: 'exit 3' });
  assert.equal((await reaches(sandbox, 'job', 'failed')).exit_code, 3);
  await sandbox.server.restart('job');
  await reaches(sandbox, 'job', 'failed');

  await sandbox.server.start({ slug: 'worker', start: 'sleep 1000' });
  await sandbox.server.stop('worker');
  const server = await sandbox.server.restart('worker');
  assert.equal(server.status, 'starting');
  assert.ok(exists(server.pid));
  await reaches(sandbox, 'worker', 'running');
}));

test('a stopped server can be given another configuration', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: 'sleep 1000', restart_policy: 'always' });
  await sandbox.server.stop('api');
  const server = await sandbox.server.start({ slug: 'api', start: 'sleep 2000' });
  assert.deepEqual([server.start, server.restart_policy], ['sleep 2000', 'never']);
  assert.equal((await sandbox.server.list()).length, 1);
}));
