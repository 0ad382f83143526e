// Orders to a pm2 daemon over its own socket, by its own library: one JSON array a line in, one JSON value a line out.
'use strict';

const readline = require('node:readline');
const pm2 = require(process.argv[2]);

const promised = (call, ...words) =>
  new Promise((resolve, reject) => pm2[call](...words, (error, value) => (error ? reject(error) : resolve(value))));

async function load(name, clients, seconds) {
  const times = [];
  const begun = process.hrtime.bigint();
  const end = begun + BigInt(seconds * 1e9);
  const client = async () => {
    while (process.hrtime.bigint() < end) {
      const sent = process.hrtime.bigint();
      await promised('describe', name);
      times.push(Number(process.hrtime.bigint() - sent) / 1e3);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const took = Number(process.hrtime.bigint() - begun) / 1e9;
  times.sort((a, b) => a - b);
  const part = (share) => times[Math.floor((times.length - 1) * share)];
  return { rps: times.length / took, p50_us: part(0.5), p99_us: part(0.99), max_us: part(1), lost: 0 };
}

const orders = { load, stop: (name) => promised('stop', name).then(() => true) };

pm2.connect((error) => {
  if (error) throw error;
  console.log('"ready"');
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const [order, ...words] = JSON.parse(line);
    console.log(JSON.stringify(await orders[order](...words)));
  });
});
