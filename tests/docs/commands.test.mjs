// Every command that the documentation prints is run as it is printed, against a real daemon.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { build, bring } from './image.mjs';
import { ROOT, blocks, documents } from './markdown.mjs';
import { checkout, run, scratch } from './shell.mjs';

const SHELLS = ['', 'daemon', 'start', 'exit', 'error'];
/** What is run in the shell of its document. */
const isRun = ({ language, marker }) => (language === 'sh' && SHELLS.includes(marker)) || marker === 'file';
const all = documents.map((document) => ({ document, found: blocks(document) }));

for (const { document, found } of all) {
  if (!found.some((block) => block.language === 'sh' && isRun(block))) continue;
  test(`the commands of ${document} do what they say`, () => {
    const directory = scratch();
    try {
      checkout(directory);
      const { done, left, stderr } = run(directory, found.filter(isRun));
      for (const { block, output, failed } of done) {
        const shown = `${block.place}\n${block.text}--- printed:\n${output}${stderr}`;
        const allowed = block.marker === 'exit' ? `${block.argument} ` : 'none';
        assert.deepEqual(failed.filter((line) => !line.startsWith(allowed)), [], `a command failed in ${shown}`);
        if (block.marker !== 'error') assert.doesNotMatch(output, /"status":"error"/, `an answer is an error in ${shown}`);
        const next = found[found.indexOf(block) + 1];
        if (next?.marker === 'answer') {
          assert.match(output.trim(), pattern(next), `${next.place} is not what was printed by ${shown}`);
        }
      }
      assert.equal(left, '', 'processes are left after the last daemon has ended');
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
}

/** What a block of an answer stands for. */
function pattern({ text, argument }) {
  const numbers = new Set(argument.split(' ').filter(Boolean));
  const quoted = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const times = (part) => part.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\\\.\d{3}Z/g, '[-0-9T:.]+Z');
  const free = (part) => part.replace(/\d+/g, (number) => (numbers.has(number) ? '\\d+' : number));
  return new RegExp(`^${text.trim().split('…').map((part) => free(times(quoted(part)))).join('[^\\n]*')}$`);
}

test('a wrong answer is noticed', () => {
  const block = { text: '{"pid":4711,…,"at":"2026-11-30T09:12:44.699Z"}\n', argument: '4711' };
  assert.match('{"pid":5,"x":1,"at":"2027-01-02T03:04:05.006Z"}', pattern(block));
  assert.doesNotMatch('{"pid":"5","x":1,"at":"2027-01-02T03:04:05.006Z"}', pattern(block));
  assert.doesNotMatch('{"pid":5,"x":1,"at":"today"}', pattern(block));
});

/** Blocks that no document has, in a checkout of their own. */
function tried(...found) {
  const directory = scratch();
  try {
    checkout(directory);
    return run(directory, found.map((block) => ({ language: 'sh', marker: '', argument: '', place: 'here', ...block }))).done;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

test('a command that fails is noticed, and a daemon that does not answer', { timeout: 120_000 }, () => {
  const done = tried({ text: 'true\nfalse\necho on\n' }, { text: '[ "$(echo no)" = yes ]\n' }, { marker: 'start', text: 'exit 3\n' });
  assert.deepEqual(done.map(({ failed }) => failed), [['1 false'], ['1 [ "$(echo no)" = yes ]'], ['no answer', 'exit 3']]);
  assert.equal(done[0].output, 'on\n');
});

test('the command that `make run` prints is one that works', () => {
  const [, { output, failed }] = tried(
    { marker: 'daemon', text: 'make run\n' },
    { text: 'eval "$(grep -h -m 1 "^ *curl " block0.out)"\n' },
  );
  assert.deepEqual(failed, []);
  assert.match(output, /"status":"success".*"slug":"web"/);
});

for (const { document, found } of all) {
  const dockerfile = found.find(({ marker }) => marker === 'image');
  if (!dockerfile) continue;
  test(`the image of ${document} brings itself up`, () => {
    const directory = scratch();
    try {
      const files = found.filter(({ marker, place }) => marker === 'file' && line(place) < line(dockerfile.place));
      const image = build(directory, dockerfile, files);
      bring(directory, image, found.find(({ marker }) => marker === 'probes'));
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
}

const line = (place) => Number(place.split(':').at(-1));

test('what is not run says why, and is well-formed', () => {
  for (const block of all.flatMap(({ found }) => found)) {
    const { place, language, marker, argument, text } = block;
    if (['skip', 'image'].includes(marker)) assert.ok(argument.length > 15, `${place}: say why it is not run as printed`);
    if (language === 'sh') {
      const checked = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
      assert.equal(checked.status, 0, `${place} is no shell script: ${checked.stderr}`);
    }
    if (language === 'sh' && marker === 'skip') {
      for (const [, target] of text.matchAll(/^make ([a-z0-9-]+)/gm)) {
        const makefile = fs.readFileSync(path.join(ROOT, 'Makefile'), 'utf8');
        assert.match(makefile, new RegExp(`^${target}:`, 'm'), `${place}: the Makefile has no target ${target}`);
      }
    }
    if (language === 'json' && marker !== 'answer') assert.doesNotThrow(() => JSON.parse(text), `${place} is no JSON`);
    if (language === 'js') assert.equal(marker, 'file', `${place}: write it to a file that the next block runs`);
    if (language === 'dockerfile') assert.equal(marker, 'image', `${place}: have it tried as an image`);
    if (language === 'yaml') assert.equal(marker, 'probes', `${place}: have it tried as probes`);
  }
});

test('the packages that are named are those that the tests use', () => {
  const { devDependencies } = JSON.parse(fs.readFileSync(path.join(ROOT, 'tests/sdk/package.json'), 'utf8'));
  let seen = 0;
  for (const { place, text } of all.flatMap(({ found }) => found)) {
    for (const [, name, version] of text.matchAll(/(computesdk|ws)@([\d.]+)/g)) {
      seen += 1;
      assert.ok(`${devDependencies[name]}.`.startsWith(`${version}.`), `${place}: ${name}@${version}, the tests have ${devDependencies[name]}`);
    }
  }
  assert.ok(seen >= 2, 'README names no version');
});
