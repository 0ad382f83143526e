//! The access key in a request: in its query, a header or our cookie.
//!
//! Owns: where a key stands, and how it is taken out. Never: which key is right. Pure.

/// The name of the key, in a query and as a cookie.
pub const NAME: &str = "servisor_key";
/// The name of the cookie on https: no page of another host can set it.
pub const SECURE_NAME: &str = "__Host-servisor_key";

/// The cookies of a `Cookie` header, without ours.
pub fn others(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    pairs(value).filter(|pair| key_of(pair).is_none())
}

/// The keys in a `Cookie` header. A sibling on the same domain may have set one more.
pub fn keys(value: &[u8]) -> impl Iterator<Item = &str> {
    pairs(value).filter_map(key_of)
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn key_of(pair: &[u8]) -> Option<&str> {
    let (name, key) = str::from_utf8(pair).ok()?.split_once('=')?;
    [NAME, SECURE_NAME].contains(&name.trim_end()).then_some(key.trim_start())
}

/// The `Set-Cookie` with which a browser keeps `key`. Previews stand in frames of other sites, so on https it is sent
/// there too; without it a browser would not do that.
pub fn set(key: &str, is_secure: bool) -> String {
    if is_secure {
        format!("{SECURE_NAME}={key}; HttpOnly; SameSite=None; Path=/; Secure; Partitioned")
    } else {
        format!("{NAME}={key}; HttpOnly; SameSite=Lax; Path=/")
    }
}

/// The keys in the query of `target`.
pub fn in_query(target: &str) -> impl Iterator<Item = &str> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|part| part.split_once('=').filter(|(name, _)| *name == NAME).map(|(_, key)| key))
}

/// `url` without a key in its query. A fragment of it stays.
pub fn without_key(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
    let is_key = |part: &&str| part.split_once('=').is_some_and(|(name, _)| name == NAME);
    if !query.split('&').any(|part| is_key(&part)) {
        return url.to_owned();
    }
    let rest: Vec<&str> = query.split('&').filter(|part| !is_key(part)).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    [path, mark, &rest.join("&"), fragment].concat()
}

/// `path` with one slash at its beginning: with two, or with a backslash, which browsers take for one, a redirect would
/// lead to another host. Control characters are left out, as browsers do it with some before they look at the slashes.
pub fn local(path: &str) -> String {
    let path: String = path.chars().filter(|letter| !letter.is_ascii_control()).collect();
    format!("/{}", path.trim_start_matches(['/', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookie_is_found_and_taken_out() {
        for (value, keys_in_it, rest) in [
            (&b"a=b"[..], vec![], "a=b"),
            (b"servisor_key=1", vec!["1"], ""),
            (b"a=b; servisor_key=1;__Host-servisor_key=2; c", vec!["1", "2"], "a=b|c"),
            (b" ;; servisor_key = 3 ;", vec!["3"], ""),
            (
                b"xservisor_key=1; servisor_keys=2; SERVISOR_KEY=3",
                vec![],
                "xservisor_key=1|servisor_keys=2|SERVISOR_KEY=3",
            ),
            (b"servisor_key", vec![], "servisor_key"),
        ] {
            assert_eq!(keys(value).collect::<Vec<_>>(), keys_in_it, "{value:?}");
            let others: Vec<_> = others(value).map(String::from_utf8_lossy).collect();
            assert_eq!(others.join("|"), rest, "{value:?}");
        }
    }

    #[test]
    fn the_key_in_a_query_leads_to_the_url_without_it() {
        for (target, keys, without) in [
            ("/?servisor_key=K", &["K"][..], "/"),
            ("/a?b=c&servisor_key=K&d=e", &["K"], "/a?b=c&d=e"),
            ("/a?servisor_key=1&&servisor_key=2", &["1", "2"], "/a?"),
            ("/a?servisor_key=", &[""], "/a"),
            ("/a?servisor_key=K?b", &["K?b"], "/a"),
            ("http://a/b?servisor_key=K#c", &["K#c"], "http://a/b#c"),
            ("/a?servisor_keys=K", &[], "/a?servisor_keys=K"),
            ("/a?b=servisor_key=K", &[], "/a?b=servisor_key=K"),
            ("/servisor_key=K", &[], "/servisor_key=K"),
            ("/a?", &[], "/a?"),
            ("*", &[], "*"),
        ] {
            assert_eq!(in_query(target).collect::<Vec<_>>(), keys, "{target}");
            assert_eq!(without_key(target), without, "{target}");
        }
    }

    /// As a browser reads them, which drops tabs and the ends of lines first.
    #[test]
    fn a_local_path_leads_to_no_other_host() {
        for path in ["//evil", "/\\evil", "\\/evil", "/\t/evil", "\t//evil", "/\r\n\\evil", "/\x0b/\x7f/evil", "evil"] {
            assert_eq!(local(path), "/evil", "{path:?}");
        }
        assert_eq!(local("?x"), "/?x");
        assert_eq!(local("/a//b\\c"), "/a//b\\c");
    }
}
