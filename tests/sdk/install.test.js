// What runs before the first start.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ask, freePort, install, logged, reaches, until, withDaemon } from './support.js';

const PROGRESSION = ['installing', 'starting', 'running', 'ready'];

test('installing -> starting -> running', withDaemon(async ({ sandbox, root }) => {
  const server = await sandbox.server.start({
    slug: 'web',
    install: 'echo install in $PWD; until [ -e go ]; do sleep 0.02; done; echo installed',
    start: 'echo started; exec sleep 1000',
  });
  assert.equal(server.status, 'installing');
  await logged(sandbox, 'web', 'install in');
  assert.equal((await sandbox.server.retrieve('web')).status, 'installing', 'as long as it takes');
  fs.writeFileSync(path.join(root, 'go'), '');
  const seen = [];
  await until('web runs', async () => {
    const { status } = await sandbox.server.retrieve('web');
    if (seen.at(-1) !== status) seen.push(status);
    return status === 'running';
  });
  // A look every few milliseconds may miss one, but can't see them in another order.
  assert.deepEqual(seen, PROGRESSION.filter((status) => seen.includes(status)), 'in this order');
  assert.equal(await logged(sandbox, 'web', 'started'), `install in ${root}\ninstalled\nstarted\n`);
}));

test('a Node.js project', withDaemon(async ({ sandbox, root }) => {
  const app = install(root, 'node', 'app');
  const port = await freePort();
  await sandbox.server.start({
    slug: 'fullstack', install: 'npm install && npm run build', start: 'npm run serve', path: 'app', port,
  });
  assert.equal(await ask(port, '/greeting'), 'hello from a dependency');
  assert.equal(fs.readFileSync(path.join(app, 'built.txt'), 'utf8'), 'hello from a dependency');
  const { logs } = await sandbox.server.logs('fullstack');
  assert.match(logs, new RegExp(`added 1 package[^]*> node -e[^]*> node server\\.js[^]*listening on ${port}`));
}));

test('a Python project', withDaemon(async ({ sandbox, root }) => {
  install(root, 'python', 'app');
  const port = await freePort();
  await sandbox.server.start({
    slug: 'python-app', install: './install.sh', start: '.venv/bin/python app.py', path: 'app', port,
  });
  assert.equal(await ask(port), 'hello from a requirement');
  const logs = await logged(sandbox, 'python-app', `listening on ${port}`);
  assert.match(logs, /^Successfully installed .*greeting\.py\n/);
}));

test('start never runs after an install that failed', withDaemon(async ({ sandbox, root }) => {
  await sandbox.server.start({
    slug: 'web', install: 'echo no such package >&2; exit 7', start: 'touch started', restart_policy: 'always',
  });
  const server = await reaches(sandbox, 'web', 'failed');
  assert.equal(server.exit_code, 7);
  assert.equal(server.restart_count, 0);
  assert.match(server.status_reason, /install exited with code 7/);
  assert.equal((await sandbox.server.logs('web', { stream: 'stderr' })).logs, 'no such package\n');
  assert.ok(!fs.existsSync(path.join(root, 'started')));
}));

test('install runs once for a configuration', withDaemon(async ({ sandbox, root }) => {
  const config = { slug: 'web', install: 'echo x >> count', start: 'sleep 1000' };
  const count = () => fs.readFileSync(path.join(root, 'count'), 'utf8').length / 2;
  await sandbox.server.start(config);
  await reaches(sandbox, 'web', 'running');
  await sandbox.server.restart('web');
  await reaches(sandbox, 'web', 'running');
  assert.equal(count(), 1, 'not at a restart');
  await sandbox.server.stop('web');
  await sandbox.server.start(config);
  await reaches(sandbox, 'web', 'running');
  assert.equal(count(), 2, 'for a new configuration, even if it is the same');
}));

test('a stop ends an install', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'web', install: 'sleep 1000', start: 'sleep 1000' });
  await sandbox.server.stop('web');
  assert.equal((await sandbox.server.retrieve('web')).status, 'stopped');
}));
