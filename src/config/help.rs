//! The help text.
//!
//! Owns: its words. Never: what they promise (a test beside the options compares both).

/// What `servisor serve --help` prints; no line is longer than 80 columns.
pub const TEXT: &str = "\
Start the daemon: it keeps managed servers alive and answers an HTTP API.

Usage: servisor serve [OPTION]...

  --listen ADDRESS          where the API is: IP:PORT (port 0 is any free one)
                            or unix:PATH [127.0.0.1:18080]
  --root DIR                relative paths of servers are taken from here [.]
  --state-dir DIR           what outlives the daemon, for one daemon at a time
                            [$XDG_STATE_HOME/servisor, or else
                            ~/.local/state/servisor, or else /var/lib/servisor]
  --setup FILE              servers to have from the start: JSON
                            {\"overlays\": [...], \"servers\": [...]}
  --public-url TEMPLATE     the address of a server from outside, with {port}
                            or {slug} or both [http://localhost:{port}; with
                            --proxy http://{slug}.localhost:PORT]
  --proxy                   serve every server under its own host name too
  --proxy-listen ADDRESS    one more address, for the servers only
  --proxy-access ACCESS     who may visit servers: public, or key (those who
                            have the server's access_url) [public]
  --gateway                 answer the ComputeSDK's compute.sandbox.create() too
  --sandbox-url URL         the address that it gets, if it is another one than
                            it has asked
  --access-token-file FILE  the access token is in this file
  --no-auth                 ask for no token; on a loopback address or a unix
                            socket only
  --allow-origin ORIGIN     let web pages from there use the API; * is any;
                            can be repeated
  --log-level LEVEL         error, warn, info or debug [info]
  --log-buffer-bytes N      how much output of each server is kept [1048576]
  --log-dir DIR             also write it to files in there, SLUG.stdout.log
                            and SLUG.stderr.log
  --log-file-bytes N        a file of that size is set aside, as ….log.1
                            [10485760]

Each option can also be given as a variable: SERVISOR_LISTEN for --listen, and
so on (SERVISOR_NO_AUTH=1; SERVISOR_ALLOW_ORIGIN with commas). Without a file,
the token is taken from SERVISOR_ACCESS_TOKEN or else COMPUTESDK_ACCESS_TOKEN;
without these, one is made at the first start and kept in
STATE_DIR/access-token. Without --setup, the payload is taken from
COMPUTESDK_SETUP_B64, in base64.
";
