// The docs' examples, as they are printed, in a root of their own: see docs/examples.mjs.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { chapter, extract, kept, leave } from './docs/blocks.mjs';

const DOCS = path.join(import.meta.dirname, 'docs');

test('the blocks that are kept here are those of the page', (t) => {
  assert.equal(kept().length, 21);
  const page = chapter();
  if (!page) return t.diagnostic('the page is not here to be compared');
  assert.deepEqual(kept(), extract(page));
});

test('each block, twice on the same daemon', async () => {
  const room = fs.mkdtempSync(path.join(os.tmpdir(), 'servisor-room-'));
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const command = [process.execPath, '--test', '--test-reporter=spec', path.join(DOCS, 'examples.mjs')];
  try {
    const inside = spawn(path.join(DOCS, 'room.sh'), [room, ...command], {
      env: { ...environment, ROOM_NET: 'own' }, stdio: ['ignore', 'inherit', 'inherit'],
    });
    assert.deepEqual(await once(inside, 'exit'), [0, null]);
  } finally {
    leave(room);
  }
});
