// README's table of the SDK: all of its namespaces, and each one does what the table says.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { withDaemon } from '../sdk/support.js';
import { ROOT, names, rows } from './markdown.mjs';

const HEADING = 'What works with `computesdk@2\\.5\\.4`';
const CLIENT = path.join(ROOT, 'tests/sdk/node_modules/computesdk');

test('the table has every namespace of the client that the tests use', () => {
  assert.equal(JSON.parse(fs.readFileSync(path.join(CLIENT, 'package.json'), 'utf8')).version, '2.5.4');
  const types = fs.readFileSync(path.join(CLIENT, 'dist/index.d.ts'), 'utf8');
  const [declared] = types.match(/^declare class Sandbox \{[\s\S]*?^\}/m);
  const namespaces = [...declared.matchAll(/^ {4}readonly (\w+): [A-Z]/gm)].map(([, name]) => name);
  assert.ok(namespaces.length >= 12, `only these namespaces are seen: ${namespaces}`);
  const cells = rows('README.md', HEADING).map(([cell]) => cell).join(' ');
  const listed = names(cells).map((name) => name.replace(/^sandbox\./, '').split(/[.(]/)[0]);
  assert.deepEqual(namespaces.filter((name) => !listed.includes(name)), [], 'these namespaces are missing in README');
});

test('what works does, and what does not is refused', withDaemon(async ({ sandbox, root }) => {
  const calls = {
    'sandbox.server': [() => sandbox.server.list()],
    'sandbox.filesystem.overlay': [() => sandbox.filesystem.overlay.list()],
    'sandbox.health()': [() => sandbox.health(), () => sandbox.ready(), () => sandbox.getServerInfo()],
    'sandbox.auth': [() => sandbox.auth.status()],
    'sandbox.run': [
      () => sandbox.run.command('true'), () => sandbox.runCommand('true'), () => sandbox.runCode('1', 'node'), () => sandbox.terminal.list(),
    ],
    'sandbox.filesystem': [
      () => sandbox.filesystem.readdir(root), () => sandbox.file.list(root), () => sandbox.env.retrieve('.env'), () => sandbox.watcher.list(),
    ],
    'sandbox.signal': [
      () => sandbox.signal.status(), () => sandbox.child.list(), () => sandbox.sessionToken.list(), () => sandbox.magicLink.create(),
    ],
  };
  for (const [cell, works] of rows('README.md', HEADING)) {
    for (const call of calls[names(cell)[0]] ?? []) {
      if (works === 'no') await assert.rejects(call, Error, `${call} works; README says that it does not`);
      else await assert.doesNotReject(call, `${call} is refused; README says that it works`);
    }
  }
  await assert.rejects(() => sandbox.auth.info(), 'auth.info() works; README says that it does not');
}));
