// What a server finds in its environment, and which source wins.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, ask, freePort, install, logged, reaches, withDaemon } from './support.js';

/** A Node server with `options` in an app with the files `files`; gives back how to ask for a variable. */
async function serve(sandbox, root, options, files = {}) {
  const app = install(root, 'node', 'app');
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(app, name), text);
  const port = await freePort();
  await sandbox.server.start({ slug: 'api', start: 'node server.js', path: 'app', port, ...options });
  return (name) => ask(port, `/env/${name}`);
}

test('inline variables', withDaemon(async ({ sandbox, root }) => {
  const variable = await serve(sandbox, root, {
    environment: { NODE_ENV: 'production', DEBUG: 'app:*', ODD: 'a "b" $c\nd' },
  });
  assert.equal(await variable('NODE_ENV'), 'production');
  assert.equal(await variable('DEBUG'), 'app:*');
  assert.equal(await variable('ODD'), 'a "b" $c\nd');
}));

test('from a .env file', withDaemon(async ({ sandbox, root }) => {
  const text = 'export NODE_ENV=production # a comment\nTITLE="two\\nlines"\nPRICE=\'$5\'\n';
  const variable = await serve(sandbox, root, { env_file: '.env.production' }, { '.env.production': text });
  assert.equal(await variable('NODE_ENV'), 'production');
  assert.equal(await variable('TITLE'), 'two\nlines');
  assert.equal(await variable('PRICE'), '$5');
}));

test('both: inline takes precedence', withDaemon(async ({ sandbox, root }) => {
  const files = { '.env': 'DEBUG=false\nFROM=file\nPYTHONUNBUFFERED=0\n' };
  const variable = await serve(sandbox, root, { env_file: '.env', environment: { DEBUG: 'true' } }, files);
  assert.equal(await variable('DEBUG'), 'true');
  assert.equal(await variable('FROM'), 'file');
  assert.equal(await variable('PYTHONUNBUFFERED'), '0', 'the file is over the defaults');
  assert.notEqual(await variable('PATH'), '', 'the rest is the environment of the daemon');
}));

test('an env_file is read afresh at every start', withDaemon(async ({ sandbox, root }) => {
  const variable = await serve(sandbox, root, { env_file: '.env' }, { '.env': 'A=1' });
  assert.equal(await variable('A'), '1');
  fs.writeFileSync(path.join(root, 'app/.env'), 'A=2');
  await sandbox.server.restart('api');
  assert.equal(await variable('A'), '2');
}));

test('a missing env_file is named', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: 'sleep 1000', env_file: '.env.missing' });
  const server = await reaches(sandbox, 'api', 'failed');
  assert.match(server.status_reason, /env_file .*\.env\.missing/);
}));

test('install has the same environment and directory', withDaemon(async ({ sandbox, root }) => {
  const say = 'echo "$MODE in $PWD"';
  fs.mkdirSync(path.join(root, 'app'));
  await sandbox.server.start({
    slug: 'api', install: say, start: `${say}; echo started; exec sleep 1000`, path: 'app', environment: { MODE: 'test' },
  });
  const line = `test in ${root}/app\n`;
  assert.equal(await logged(sandbox, 'api', 'started'), `${line}${line}started\n`);
}));

test("the daemon's token is none of a server's business", withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'curious', start: 'env; echo end', environment: { VISIBLE: 'yes' } });
  const logs = await logged(sandbox, 'curious', 'end\n');
  assert.match(logs, /^VISIBLE=yes$/m);
  assert.ok(!logs.includes(TOKEN), logs);
}));
