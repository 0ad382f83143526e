// The form of the documentation: links lead somewhere, README is short enough to be read.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT, anchors, documents, links, names, prose, read, rows } from './markdown.mjs';

test('every link inside of the repository leads somewhere', () => {
  const broken = [];
  let seen = 0;
  for (const document of documents) {
    for (const { target } of links(document).filter(({ target }) => !/^[a-z]+:/.test(target))) {
      seen += 1;
      const [file, anchor] = target.split('#');
      const found = file ? path.join(path.dirname(document), file) : document;
      if (!fs.existsSync(path.join(ROOT, found))) broken.push(`${document}: ${target}: there is no ${found}`);
      else if (anchor && !anchors(found).includes(anchor)) broken.push(`${document}: ${target}: ${found} has no such heading`);
    }
  }
  assert.deepEqual(broken, []);
  assert.ok(seen > 30, `only ${seen} links are seen`);
});

test('README is read in five minutes', () => {
  const bytes = Buffer.byteLength(read('README.md'));
  assert.ok(bytes >= 9 * 1024 && bytes <= 12 * 1024, `README.md has ${bytes} bytes; 9 to 12 KiB are allowed: move the rest to docs/`);
});

test('no document has a banned word or a path of some machine', () => {
  const lines = read('tests/words.txt').split('\n').filter((line) => line && !line.startsWith('#'));
  const words = lines.flatMap((line) => line.slice(0, line.indexOf(': ')).split(', '));
  assert.ok(words.length > 40, `only ${words.length} words are known`);
  const banned = new RegExp(`\\b(${words.join('|')})\\b|/(work|home)/`, 'i');
  for (const document of documents) {
    for (const [number, text] of read(document).split('\n').entries()) {
      const found = banned.exec(text)?.[0];
      assert.equal(found, undefined, `${document}:${number + 1}: tests/words.txt says what to write instead; no path of some machine`);
    }
  }
});

test('every document is reached from README', () => {
  const seen = new Set(['README.md']);
  for (const document of seen) {
    for (const { target } of links(document)) {
      const found = path.join(path.dirname(document), target.split('#')[0]);
      if (documents.includes(found)) seen.add(found);
    }
  }
  assert.deepEqual(documents.filter((document) => !seen.has(document)), []);
});

test('files that are named exist', () => {
  const missing = [];
  for (const document of documents.filter((document) => document !== 'docs/CHANGELOG.md')) {
    const named = names(prose(document)).filter((name) => /^[\w./-]+\.rs$|^(src|tests|docs)\/[\w./-]*$/.test(name));
    const folders = ['', 'src', 'tests', path.dirname(document)];
    missing.push(...named.filter((name) => !folders.some((folder) => fs.existsSync(path.join(ROOT, folder, name))))
      .map((name) => `${document} names ${name}, which does not exist`));
  }
  assert.deepEqual(missing, []);
});

test('the threads of docs/design.md are those of the code', () => {
  const files = fs.readdirSync(path.join(ROOT, 'src'), { recursive: true }).filter((name) => name.endsWith('.rs') && !/tests/.test(name));
  const code = files.map((name) => fs.readFileSync(path.join(ROOT, 'src', name), 'utf8').split('#[cfg(test)]\nmod tests {')[0]).join('\n');
  const listed = rows('docs/design.md', 'Threads').flatMap(([cell]) => names(cell)).map((name) => name.replace(/(SLUG|ID|N).*$/, ''));
  assert.deepEqual(listed.filter((name) => !code.includes(`"${name}`)), [], 'no thread has such a name in src/; remove or rename these rows');
  const made = [...code.matchAll(/thread::spawn\(\s*"([^"{]+)"/g)].map(([, name]) => name);
  assert.ok(made.length >= 4, `only these threads are seen in src/: ${made}`);
  assert.deepEqual(made.filter((name) => !listed.includes(name)), [], 'add rows for these threads');
});
