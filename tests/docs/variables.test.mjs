// The environment variables of docs/reference.md: those that the code reads, and those that a server gets.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { freePort, reaches, withDaemon } from '../sdk/support.js';
import { names, rows } from './markdown.mjs';
import { PAGE, code, first, rustFiles, same } from './reference.mjs';

/** Words in capitals that are no variables of the daemon or the command line. */
const METHODS = ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE'];
const SIGNALS = ['src/model/signal.rs', 'src/model/stop.rs', 'src/os/signals.rs'];
/** The server's own, by which its program is found; and what is kept from it. */
const OF_SERVERS = ['PATH', 'OLDPWD'];

test('variables that belong to no option', () => {
  const read = rustFiles('src').filter((file) => !SIGNALS.includes(file)).flatMap((file) => {
    const text = code(file).replace(/env!\("\w+"\)/g, '');
    return [...text.matchAll(/"([A-Z][A-Z0-9_]+[A-Z0-9])"/g)].map(([, name]) => name);
  });
  const options = rows(PAGE, 'Options').flatMap(([, cell]) => names(cell));
  assert.ok(options.length >= 17 && options.every((name) => name.startsWith('SERVISOR_')), `only these options have variables: ${options}`);
  const others = [...options, ...first('Variables of a server'), ...OF_SERVERS, ...METHODS];
  const found = [...new Set(read)].filter((name) => !others.includes(name));
  assert.ok(found.length >= 10, `only these variables are seen in src: ${found}`);
  same('Other variables', 'src', found, first('Other variables'));
});

const FOREIGN = { OLDPWD: '/', COMPUTESDK_X: '1', PWD: undefined };

/** The environment of a server that runs as `slug`, by name. */
async function environment(sandbox, root, slug, options) {
  await sandbox.server.start({ slug, start: `cp /proc/self/environ ${slug}.environ`, ...options });
  await reaches(sandbox, slug, 'stopped');
  const pairs = fs.readFileSync(path.join(root, `${slug}.environ`), 'utf8').split('\0').filter(Boolean);
  return new Map(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** Compares what a server has beyond the daemon's environment with the section, but for `missing`. */
async function compared({ daemon, sandbox, root }, options, missing) {
  const known = fs.readFileSync(`/proc/${daemon.process.pid}/environ`, 'utf8').split('\0').map((pair) => pair.split('=')[0]);
  assert.ok(known.includes('OLDPWD') && known.includes('SERVISOR_ACCESS_TOKEN') && !known.includes('PWD'), `${known}`);
  const got = await environment(sandbox, root, 'web', options);
  const listed = first('Variables of a server').filter((name) => !missing.includes(name));
  same('Variables of a server', 'the environment of a server', [...got.keys()].filter((name) => !known.includes(name)), listed);
  const removed = known.filter((name) => name && !got.has(name));
  assert.deepEqual(removed.filter((name) => !/^(SERVISOR_|COMPUTESDK_|OLDPWD$)/.test(name)), [], 'the section does not say that a server lacks these');
  assert.ok(['OLDPWD', 'SERVISOR_ACCESS_TOKEN', 'COMPUTESDK_X'].every((name) => removed.includes(name)), `only these are kept from a server: ${removed}`);
  return got;
}

test('variables of a server with a port', withDaemon(async (given) => {
  const port = await freePort();
  const got = await compared(given, { port }, []);
  assert.deepEqual([got.get('PYTHONUNBUFFERED'), got.get('PWD'), got.get('PORT')], ['1', given.root, String(port)]);
  assert.equal(got.get('SERVISOR_URL'), `http://localhost:${port}`);
}, FOREIGN));

test('variables of a server without a port', withDaemon((given) => compared(given, {}, ['PORT', 'SERVISOR_URL']), FOREIGN));

test('variables of a server behind the proxy', withDaemon(async (given) => {
  const got = await compared(given, {}, ['PORT']);
  assert.match(got.get('SERVISOR_URL'), /^http:\/\/web\.localhost:\d+$/);
}, { ...FOREIGN, SERVISOR_PROXY: '1' }));
