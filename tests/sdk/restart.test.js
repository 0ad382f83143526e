// Restart policies.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ask, freePort, install, reaches, until, withDaemon } from './support.js';

const runs = (root) => fs.readFileSync(path.join(root, 'runs'), 'utf8').length / 2;

test('never: no automatic restart', withDaemon(async ({ sandbox, root }) => {
  await sandbox.server.start({ slug: 'good', start: 'echo x >> runs' });
  const good = await reaches(sandbox, 'good', 'stopped', 'failed');
  assert.deepEqual([good.status, good.exit_code, good.restart_count], ['stopped', 0, 0]);
  await sandbox.server.start({ slug: 'bad', start: 'echo x >> runs; exit 4' });
  const bad = await reaches(sandbox, 'bad', 'stopped', 'failed');
  assert.deepEqual([bad.status, bad.exit_code, bad.restart_count], ['failed', 4, 0]);
  assert.match(bad.status_reason, /exited with code 4/);
  assert.equal(runs(root), 2);
}));

test('on-failure: only on a non-zero exit code', withDaemon(async ({ sandbox, root }) => {
  await sandbox.server.start({
    slug: 'job', start: 'echo x >> runs', restart_policy: 'on-failure', restart_delay_ms: 1,
  });
  const job = await reaches(sandbox, 'job', 'stopped', 'failed');
  assert.deepEqual([job.status, job.exit_code, job.restart_count], ['stopped', 0, 0]);
  assert.equal(runs(root), 1);
}));

test('on-failure gives up after max_restarts', withDaemon(async ({ sandbox, root }) => {
  await sandbox.server.start({
    slug: 'api', start: 'echo x >> runs; exit 3', restart_policy: 'on-failure', max_restarts: 5, restart_delay_ms: 20,
  });
  const server = await reaches(sandbox, 'api', 'failed');
  assert.deepEqual([server.restart_count, server.exit_code], [5, 3]);
  assert.match(server.status_reason, /gave up after 5 restarts/);
  assert.equal(runs(root), 6);
  // A restart by hand is a new beginning.
  await sandbox.server.restart('api');
  assert.equal((await reaches(sandbox, 'api', 'failed')).restart_count, 5);
  assert.equal(runs(root), 12);
}));

test('a crashed server comes back on its port', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  const first = await sandbox.server.start({
    slug: 'api', start: 'node server.js', path: 'app', port, restart_policy: 'on-failure', restart_delay_ms: 50,
  });
  assert.equal(await ask(port, '/exit/1'), 'bye');
  const second = await until('api is restarted', async () => {
    const server = await sandbox.server.retrieve('api');
    return server.restart_count === 1 && server.pid && server;
  });
  assert.notEqual(second.pid, first.pid);
  assert.equal(second.port, port);
  assert.equal(second.exit_code, null, 'it runs');
  assert.equal(await ask(port), 'hello');

  process.kill(second.pid, 'SIGKILL');
  await until('api is restarted again', async () => (await sandbox.server.retrieve('api')).restart_count === 2);
  assert.equal(await ask(port), 'hello');
}));

test('always: on any exit, without a limit', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({
    slug: 'worker', start: 'true', restart_policy: 'always', max_restarts: 0, restart_delay_ms: 5,
  });
  await until('worker is restarted often', async () => (await sandbox.server.retrieve('worker')).restart_count >= 8);
  await sandbox.server.stop('worker');
  const stopped = await sandbox.server.retrieve('worker');
  assert.equal(stopped.status, 'stopped');
  assert.deepEqual(await sandbox.server.retrieve('worker'), stopped, 'a stop is not answered with a restart');
}));

test('restarting: waits for restart_delay_ms, and a stop does not wait for it', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: 'exit 3', restart_policy: 'on-failure', restart_delay_ms: 600_000 });
  const waiting = await reaches(sandbox, 'api', 'restarting');
  assert.equal(waiting.exit_code, 3);
  assert.equal(waiting.pid, undefined);
  await sandbox.server.stop('api');
  assert.equal((await sandbox.server.retrieve('api')).status, 'stopped');
}));

test('restart_delay_ms passes between two runs', withDaemon(async ({ sandbox, root }) => {
  await sandbox.server.start({
    slug: 'api', start: 'cat /proc/uptime >> times; exit 1',
    restart_policy: 'on-failure', max_restarts: 2, restart_delay_ms: 300,
  });
  await reaches(sandbox, 'api', 'failed');
  const times = fs.readFileSync(path.join(root, 'times'), 'utf8').trim().split('\n').map(parseFloat);
  assert.equal(times.length, 3);
  const pauses = times.slice(1).map((time, place) => time - times[place]);
  // The kernel counts in hundredths.
  assert.ok(pauses.every((seconds) => seconds >= 0.28), `${pauses}`);
}));
