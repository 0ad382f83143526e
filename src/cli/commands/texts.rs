//! The help of each command.
//!
//! Owns: usage, summary (the third line), an example, and the options, which are read from here. Never: a common option.

pub const PS: &str = "\
Usage: servisor ps [SLUG]...

list servers

Example: servisor ps

Options:
  -q, --quiet               print names only
      --env                 show the values of the environment, secrets included
";

pub const STATUS: &str = "\
Usage: servisor status SLUG...

show all fields, the end of the last run, and the last 10 lines of the log

Example: servisor status web

Options:
      --env                 show the values of the environment, secrets included
";

pub const RUN: &str = "\
Usage: servisor run SLUG [OPTION]... -- COMMAND, or servisor run [SLUG] -f FILE

start a new server, and wait until it is up
A COMMAND of one word is a shell line: 'npm run dev -- --port $PORT'; of several words each
is passed as it is. DIR is taken from the daemon's root unless it is absolute.

Example: servisor run web -p 3000 -- npm run dev

Options:
  -p, --port PORT           give it this port, as $PORT; the next free one if it is taken
      --strict-port         fail if the port is taken
      --path DIR            the working directory [the daemon's root]
      --install LINE        shell line to run before the first start
      --env-file FILE       dotenv file, taken from the working directory
  -e, --env NAME=VALUE      set a variable; can be repeated
      --restart POLICY      never, on-failure or always [never]
      --max-restarts N      give up after N restarts; 0 is no limit [0]
      --health PATH         check its health with GET PATH
      --replace             stop and replace a server of this name
      --no-wait             do not wait until it is up
  -f, --file FILE           configuration as JSON (- is stdin); the command line wins over the file
";

pub const UP: &str = "\
Usage: servisor up [FILE]

start what a setup file or a Procfile describes, and wait until all is up
Without FILE: servisor.json or Procfile of this directory. A Procfile's name begins with
\"Procfile\"; any other file is JSON. A server whose configuration did not change is left as it
is. A server whose configuration changed is stopped and replaced.

Example: servisor up Procfile

Options:
      --no-wait             do not wait until all is up
";

pub const START: &str = "\
Usage: servisor start SLUG...|--all

start stopped or failed servers with their kept configuration
'servisor wait' waits until they are up.

Example: servisor start web

Options:
      --all                 all servers
";

pub const STOP: &str = "\
Usage: servisor stop SLUG...|--all

stop servers; done when no process of theirs is left

Example: servisor stop web api

Options:
      --all                 all servers
";

pub const RESTART: &str = "\
Usage: servisor restart SLUG...|--all

restart servers; done when their new processes run
'servisor wait' waits until they are up again.

Example: servisor restart web && servisor wait web

Options:
      --all                 all servers
";

pub const RM: &str = "\
Usage: servisor rm SLUG...|--all

stop servers and delete their configuration, logs and runs

Example: servisor rm web

Options:
      --all                 all servers
";

pub const WAIT: &str = "\
Usage: servisor wait [SLUG]...

wait until servers are up
up is ready, or running where neither a port nor a health check is configured; after a
crash, running for 3 s. It fails at once if a server can't reach the goal. Without SLUG: all
servers but stopped ones.

Example: servisor wait web --for healthy --timeout 120

Options:
      --for GOAL            up, running, ready, healthy, stopped or gone [up]
";

pub const LOGS: &str = "\
Usage: servisor logs [SLUG]...

print what servers wrote

Example: servisor logs -f -n 20 web

Options:
  -f, --follow              go on with new lines
  -n, --lines N             the last N lines of each server [100]
      --stream STREAM       stdout or stderr alone
      --no-prefix           no names before the lines
  -t, --times               the time at which each line was read
";

pub const RUNS: &str = "\
Usage: servisor runs SLUG

show the runs of a server and how they ended

Example: servisor runs web

Options:
  -n, --lines N             the last N runs [20]
";

pub const TOP: &str = "\
Usage: servisor top [SLUG]...

show processor time and memory, every 2 s
Without a terminal: once.

Example: servisor top

Options:
";

pub const OPEN: &str = "\
Usage: servisor open SLUG

print the URL of a server, and open a browser where there is one

Example: servisor open web

Options:
      --no-browser          print only
";

pub const EVENTS: &str = "\
Usage: servisor events [SLUG]...

print what changes, until interrupted

Example: servisor events --json

Options:
";
