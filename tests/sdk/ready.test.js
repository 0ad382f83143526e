// When a server can be opened, and where: `status`, `url`, `port`, `healthy`, and the loop at the end of the docs.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ask, canListen, close, freePort, install, listen, reaches, until, withDaemon } from './support.js';

/** Sets what the app of `apps/node` answers its checks with. */
function answers(root, status) {
  fs.writeFileSync(path.join(root, 'app/health'), String(status));
}

test('status, url and port of a simple server', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  await sandbox.server.start({ slug: 'web', start: 'npm run dev', path: 'app' });
  // It was given no port, took one of its own, and is not the process that was started but a child of npm's.
  const server = await reaches(sandbox, 'web', 'ready');
  assert.equal(server.url, `http://localhost:${server.port}`);
  assert.equal(await (await fetch(server.url)).text(), 'hello');
  assert.ok(!('healthy' in server) && !('health_status' in server), 'without a health check');
}));

test('the list of the docs', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  const port = await freePort();
  await sandbox.server.start({ slug: 'api', start: 'node server.js', path: 'app', port });
  await sandbox.server.start({ slug: 'worker', start: 'sleep 1000' });
  await reaches(sandbox, 'api', 'ready');
  await reaches(sandbox, 'worker', 'running');
  const servers = await sandbox.server.list();
  const lines = [];
  servers.forEach((s) => {
    lines.push(`${s.slug}: ${s.status} at ${s.url || 'no URL yet'}`);
  });
  assert.deepEqual(lines, [`api: ready at http://localhost:${port}`, 'worker: running at no URL yet']);
}));

test('a health check: ready only after it has passed', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  answers(root, 503);
  const port = await freePort();
  await sandbox.server.start({
    slug: 'web',
    start: 'npm run dev',
    path: 'app',
    port,
    health_check: { path: '/health', interval_ms: 50, timeout_ms: 3000, delay_ms: 100 },
  });
  assert.equal(await ask(port, '/health'), '503');
  const checked = await until('a check has failed', async () => {
    const server = await sandbox.server.retrieve('web');
    return server.health?.last_status === 503 && server;
  });
  assert.deepEqual([checked.status, checked.healthy, checked.health_status], ['running', false, 'checking']);
  assert.equal(checked.url, `http://localhost:${port}`, 'where it is to be found is known already');

  answers(root, 200);
  const well = await reaches(sandbox, 'web', 'ready');
  assert.deepEqual([well.healthy, well.health_status], [true, 'healthy']);
  assert.deepEqual(well.health_check, {
    path: '/health', interval_ms: 50, timeout_ms: 3000, delay_ms: 100, restart_after_failures: 0,
  });

  answers(root, 500);
  const ill = await reaches(sandbox, 'web', 'running');
  assert.deepEqual([ill.healthy, ill.health_status], [false, 'unhealthy']);
  assert.ok(ill.health.consecutive_failures >= 3);
  answers(root, 302);
  assert.equal((await reaches(sandbox, 'web', 'ready')).healthy, true);
}));

test('the health checks of the docs', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  for (const [slug, check] of Object.entries({
    express: { path: '/health', interval_ms: 5000, timeout_ms: 3000, delay_ms: 2000 },
    next: { path: '/' },
    api: { path: '/ready' },
    other: { path: '/', interval_ms: 5000 },
  })) {
    const port = await freePort();
    await sandbox.server.start({ slug, start: 'node server.js', path: 'app', port, health_check: check });
  }
  for (const slug of ['express', 'next', 'api', 'other']) {
    const server = await reaches(sandbox, slug, 'ready');
    assert.deepEqual([server.healthy, server.health_status], [true, 'healthy'], slug);
    const waited = Date.parse(server.ready_at) - Date.parse(server.started_at);
    assert.ok(slug !== 'express' || waited >= 2000, `its delay is kept: ${waited} ms`);
  }
}));

test('sandbox.ready()', withDaemon(async ({ daemon, sandbox, root }) => {
  assert.deepEqual(await sandbox.ready(), { ready: true, healthy: true, servers: [], overlays: [] });
  install(root, 'node', 'app');
  answers(root, 503);
  const port = await freePort();
  await sandbox.server.start({
    slug: 'web', start: 'node server.js', path: 'app', port, health_check: { path: '/health', interval_ms: 50 },
  });
  const up = await until('all have their ports', async () => {
    const all = await sandbox.ready();
    return all.ready && all;
  });
  assert.equal(up.healthy, false);
  answers(root, 200);
  const well = await until('all are healthy', async () => {
    const all = await daemon.sandbox({ token: undefined }).ready();
    return all.healthy && all;
  });
  const [{ slug, port: shown, url, status, healthy, health_check: check }] = well.servers;
  assert.deepEqual(
    { slug, shown, url, status, healthy },
    { slug: 'web', shown: port, url: `http://localhost:${port}`, status: 'ready', healthy: true },
  );
  assert.equal(check.last_status, 200);
  await sandbox.server.start({ slug: 'broken', start: 'exit 1', port: await freePort() });
  await reaches(sandbox, 'broken', 'failed');
  assert.equal((await sandbox.ready()).ready, false, 'one that failed has no port');
  await sandbox.server.stop('broken');
  assert.equal((await sandbox.ready()).ready, true, 'one that was stopped is not missed');
}));

test('a status by hand', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'worker', start: 'sleep 1000' });
  await reaches(sandbox, 'worker', 'running');
  await sandbox.server.updateStatus('worker', 'ready');
  assert.equal((await sandbox.server.retrieve('worker')).status, 'ready');
  await sandbox.server.updateStatus('worker', 'running');
  assert.equal((await sandbox.server.retrieve('worker')).status, 'running');
  await assert.rejects(sandbox.server.updateStatus('worker', 'stopped'), /\(409\).*"stopped"/);
  await assert.rejects(sandbox.server.updateStatus('worker', 'up'), /\(422\).*"up"/);
}));

test('the last example of the docs, with its loop', withDaemon(async ({ sandbox, root }) => {
  install(root, 'node', 'app');
  // 3000 is what the docs ask for, but it may be in use here: then the next one is taken.
  const other = await canListen(3000) && await listen(3000);
  const server = await sandbox.server.start({
    slug: 'nextjs',
    install: 'npm install',
    start: 'npm run dev',
    path: 'app',
    port: 3000,
    environment: { NODE_ENV: 'development', NEXT_PUBLIC_API_URL: 'https://api.example.com' },
    restart_policy: 'on-failure',
    max_restarts: 3,
    restart_delay_ms: 1000,
    stop_timeout_ms: 10000,
    health_check: { path: '/', interval_ms: 5000, timeout_ms: 3000, delay_ms: 1000 },
  });

  // The docs ask `server` again and again, which never changes: what is retrieved is what has to be asked.
  let updated = server;
  const seen = [server.status];
  while (updated.status !== 'ready') {
    await new Promise((r) => setTimeout(r, 100));
    updated = await sandbox.server.retrieve('nextjs');
    assert.notEqual(updated.status, 'failed', updated.status_reason);
    if (seen.at(-1) !== updated.status) seen.push(updated.status);
  }

  assert.equal(seen[0], 'installing');
  assert.deepEqual(seen, ['installing', 'starting', 'running', 'ready'].filter((status) => seen.includes(status)));
  assert.ok(updated.port > 3000 && updated.requested_port === 3000);
  assert.equal(updated.url, `http://localhost:${updated.port}`);
  assert.equal(await (await fetch(`${updated.url}/env/NEXT_PUBLIC_API_URL`)).text(), 'https://api.example.com');
  if (other) await close(other);
}));
