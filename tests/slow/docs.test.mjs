// The last example of the docs' chapter with the app that it is about: a real Next.js app, from npm, with its checks.
// `make test-slow`; needs the network. Everything else is as in tests/sdk/docs.test.js.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { leave } from '../sdk/docs/blocks.mjs';

const DOCS = path.join(import.meta.dirname, '../sdk/docs');

const FILES = {
  'package.json': JSON.stringify({ private: true, scripts: { dev: 'next dev' }, dependencies: { next: '*', react: '*', 'react-dom': '*' } }),
  'pages/index.js': 'export default function Home() { return <p>hello from Next</p>; }',
};

test('a real Next.js app', { timeout: 900_000 }, async () => {
  const room = fs.mkdtempSync(path.join(os.tmpdir(), 'servisor-room-'));
  for (const [name, content] of Object.entries(FILES)) {
    fs.mkdirSync(path.dirname(path.join(room, 'app', name)), { recursive: true });
    fs.writeFileSync(path.join(room, 'app', name), content);
  }
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const command = [process.execPath, '--test', '--test-reporter=spec', path.join(DOCS, 'examples.mjs')];
  try {
    const inside = spawn(path.join(DOCS, 'room.sh'), [room, ...command], {
      // npm's registry has to be reached: no network of its own, and perhaps another port.
      env: { ...environment, BLOCKS: '20', ROUNDS: '2', LIMIT_MS: '400000', APP: 'as it is', PAGE: 'hello from Next',
        NEXT_TELEMETRY_DISABLED: '1' },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    assert.deepEqual(await once(inside, 'exit'), [0, null]);
  } finally {
    leave(room);
  }
});
