//! The paths that the SDK has beside those of servers and overlays.

use super::*;

#[test]
fn the_rest_of_the_sdk_has_the_same_answer_for_every_method() {
    for (path, expected) in [
        ("/execute", "commands"),
        ("/run/code", "commands"),
        ("/run/command", "commands"),
        ("/files", "files"),
        ("/files?path=%2F", "files"),
        ("/files/batch", "files"),
        // How the client writes `/app/a b.txt`, and the file's text.
        ("/files//app/a%20b.txt?content=true", "files"),
        ("/terminals", "terminals"),
        ("/terminals/t1/commands/c1/wait?timeout=5", "terminals"),
        ("/watchers/w1", "file watchers"),
        ("/signals/port/3000/open", "signals"),
        ("/env?file=.env", "environment files"),
        ("/sandboxes", "child sandboxes"),
        ("/sandboxes/abc?delete_files=false", "child sandboxes"),
        ("/auth/session_tokens/x", "session tokens"),
        ("/auth/magic-links", "magic links"),
        ("/auth/info", "details of tokens"),
    ] {
        for method in ["GET", "HEAD", "POST", "DELETE", "PATCH", "PUT"] {
            let routed = route(method, path);
            assert_eq!(Gate::of(&routed), Gate::Guarded, "{method} {path}");
            assert_eq!(routed.unwrap().action, ApiAction::Unsupported(expected), "{method} {path}");
        }
    }
    for (path, expected) in [
        ("/v1/snapshots", GatewayAction::Snapshots),
        ("/v1/snapshots/s1", GatewayAction::Snapshots),
        ("/v1", GatewayAction::Elsewhere),
    ] {
        assert_eq!(action("DELETE", path), ApiAction::Gateway(expected), "{path}");
    }
    assert_eq!(refusal("GET", "/ws?token=x&protocol=binary").code().status(), 404);
}

#[test]
fn the_gateway_has_the_paths_below_v1_as_they_were_sent() {
    for path in ["/v1", "/v1?x=/", "/v1/", "/v1/sandboxes", "/v1/sandboxes/a?b=c", "/v1/nothing"] {
        assert!(is_gateway(path), "{path}");
    }
    for path in ["/", "/v1x", "/servers?/v1/", "/%761/sandboxes", "//v1/sandboxes", "/v10/", "v1/", "", "*"] {
        assert!(!is_gateway(path), "{path}");
    }
}
