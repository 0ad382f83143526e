// The code blocks of the docs' chapter on managed servers, and the end of a room that they ran in.

import fs from 'node:fs';
import path from 'node:path';

/** The copy that is kept here: one fenced block after the other. */
export function kept() {
  const text = fs.readFileSync(path.join(import.meta.dirname, 'blocks.md'), 'utf8');
  return [...text.matchAll(/^```js\n(.*?)\n```$/gms)].map(([, block]) => block);
}

/** The chapter itself, if it lies in a directory beside this repository's. */
export function chapter() {
  const above = path.join(import.meta.dirname, '../../../..');
  const places = ['.', ...fs.readdirSync(above)].map((name) => path.join(above, name, 'managed-servers-docs.txt'));
  const place = places.find((file) => fs.existsSync(file));
  return place && fs.readFileSync(place, 'utf8');
}

const isCode = (line) => /^(import|const|await|console|servers|app|while|health_check)\b|^\/\/|^[})]|^ (?! +(•|\d\. ))/.test(line);

/**
 * The blocks in the text of the page, which has lost the marks around them: lines of code, and empty ones between them.
 * Where two blocks stand close to each other the second one begins with a declaration or a comment right below a
 * statement; in a block those have an empty line before them.
 */
export function extract(text) {
  const blocks = [];
  let block = [];
  const end = () => {
    const whole = block.join('\n').trimEnd();
    if (whole) blocks.push(whole);
    block = [];
  };
  for (const line of text.split('\n')) {
    if (line.trim() === '') {
      if (block.length > 0) block.push(line);
      continue;
    }
    if (!isCode(line)) {
      end();
      continue;
    }
    const last = block.at(-1) ?? '';
    const begins = /^(const|import|\/\/)/.test(line) && last.trim() !== '' && (!last.startsWith('//') || line.startsWith('//'));
    if (begins) end();
    block.push(line);
  }
  end();
  return blocks;
}

/**
 * Removes what `room.sh` has made. Its mounts have ended with the program; were one still there, what is mounted must not
 * be removed: so nothing but empty directories and what was the room's own.
 */
export function leave(room) {
  for (const name of fs.readdirSync(room)) {
    const made = path.join(room, name);
    if (name === 'app' || name === 'templates') fs.rmSync(made, { recursive: true });
    else if (fs.lstatSync(made).isDirectory()) fs.rmdirSync(made);
    else fs.unlinkSync(made);
  }
  fs.rmdirSync(room);
}
