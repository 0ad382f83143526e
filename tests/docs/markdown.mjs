// The documentation as data: its files, blocks, headings, links and tables.
//
// A fenced block has a language, and may have a marker in an HTML comment on the line before it, which readers don't see:
//
//   <!-- test: daemon -->          the daemon of the document: runs in the background until the end, or until the next one
//   <!-- test: start -->           a daemon of its own: has to start, to answer and to end cleanly
//   <!-- test: answer N… -->       what the block before prints; `…` stands for anything, the numbers N for any number
//   <!-- test: exit N -->          a command in it ends with N, all others with 0
//   <!-- test: error -->           an answer in it may be an error
//   <!-- test: file NAME -->       is written to NAME, for the blocks that follow
//   <!-- test: image WHY -->       a Dockerfile: its files are laid out and its entry point is run by chroot
//   <!-- test: probes -->          the probes of Kubernetes: run in the image of the document
//   <!-- test: skip WHY -->        is not run, only checked for its syntax, and that its `make` targets exist
//
// Without a marker a `sh` block is run as printed, in the shell of its document, and JSON has to be JSON.

import fs from 'node:fs';
import path from 'node:path';

export const ROOT = path.resolve(import.meta.dirname, '../..');
const FOLDERS = ['.', 'docs', '.github', 'tests', 'tests/bench'];
const LANGUAGES = ['sh', 'js', 'json', 'dockerfile', 'yaml', 'text'];
const MARKERS = ['daemon', 'start', 'answer', 'exit', 'error', 'file', 'image', 'probes', 'skip'];

/** The paths of all documents, from the root of the repository. */
export const documents = FOLDERS.flatMap((folder) => fs.readdirSync(path.join(ROOT, folder))
  .filter((name) => name.endsWith('.md')).map((name) => path.join(folder, name)));

export const read = (document) => fs.readFileSync(path.join(ROOT, document), 'utf8');

/** The fenced blocks of a document, in order: `{ place, language, marker, argument, text }`. */
export function blocks(document) {
  const found = [];
  let open = null;
  let comment = '';
  for (const [index, line] of read(document).split('\n').entries()) {
    const fence = line.match(/^```(\w*)$/);
    if (open && fence) {
      found.push({ ...open, text: `${open.lines.join('\n')}\n` });
      open = null;
    } else if (open) {
      open.lines.push(line);
    } else if (fence) {
      const place = `${document}:${index + 1}`;
      const [, marker = '', argument = ''] = comment.match(/^<!-- test: (\w+) ?(.*?) ?-->$/) ?? [];
      if (!LANGUAGES.includes(fence[1])) throw new Error(`${place}: a block needs a language of ${LANGUAGES.join(', ')}`);
      if (comment.startsWith('<!--') && !MARKERS.includes(marker)) throw new Error(`${place}: no such marker: ${comment}`);
      open = { place, language: fence[1], marker, argument, lines: [] };
    }
    if (!open) comment = line;
  }
  if (open) throw new Error(`${open.place}: the block does not end`);
  return found;
}

/** The lines of a document outside of its blocks. */
export const prose = (document) => read(document).replace(/^```[\s\S]*?^```$/gm, '');

/** The anchors of a document, as GitHub makes them of its headings. */
export function anchors(document) {
  const count = new Map();
  return [...prose(document).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
    const slug = plain.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');
    const before = count.get(slug) ?? 0;
    count.set(slug, before + 1);
    return before ? `${slug}-${before}` : slug;
  });
}

/** The links of a document: `{ text, target }`. */
export const links = (document) => [...prose(document).matchAll(/\[([^\]]*)\]\(([^)\s]+)\)/g)]
  .map(([, text, target]) => ({ text, target }));

/** The rows of the tables below a heading, each a list of cells, without their header rows. */
export function rows(document, heading) {
  const text = prose(document);
  const start = text.search(new RegExp(`^#+ ${heading}$`, 'm'));
  if (start < 0) throw new Error(`${document} has no heading "${heading}"`);
  const section = text.slice(start).split('\n').slice(1);
  const end = section.findIndex((line) => /^#+ /.test(line));
  const lines = (end < 0 ? section : section.slice(0, end)).map((line, index, all) => ({
    line, isHeader: /^\|( *-+ *\|)+$/.test(all[index + 1] ?? ''), isRule: /^\|( *-+ *\|)+$/.test(line),
  }));
  return lines.filter(({ line, isHeader, isRule }) => line.startsWith('|') && !isHeader && !isRule)
    .map(({ line }) => line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

/** The texts in backquotes of a cell. */
export const names = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
