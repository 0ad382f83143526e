// A server that shows its environment, ends as it is asked to, and takes a moment to end on request. Its health
// is what the file `health` says.
const fs = require('node:fs');
const http = require('node:http');

const answers = {
  env: (name) => process.env[name] ?? '',
  cwd: () => process.cwd(),
  greeting: () => require('greeting'),
};

const server = http.createServer((request, response) => {
  const [what, word] = request.url.slice(1).split('/');
  response.setHeader('Connection', 'close');
  if (what === 'exit') return response.end('bye', () => process.exit(Number(word)));
  if (what === 'health' && fs.existsSync('health')) {
    const status = fs.readFileSync('health', 'utf8');
    response.statusCode = Number(status);
    return response.end(status);
  }
  response.end(answers[what]?.(word) ?? 'hello');
});

process.on('SIGTERM', () => {
  console.log('SIGTERM: closing');
  if (process.env.STUBBORN) return;
  setTimeout(() => server.close(() => {
    console.log('closed');
    process.exit(0);
  }), Number(process.env.DRAIN_MS ?? 0));
});

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`);
  console.error(`pid ${process.pid}`);
});
