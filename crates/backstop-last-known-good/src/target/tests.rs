use backstop_core::name;

use super::*;
use crate::key::Owner;

fn target(uri: &'static str, host: Option<&'static str>) -> Target {
    let headers = host.map(|host| (HOST, HeaderValue::from_static(host))).into_iter().collect();
    Target::of(&Uri::from_static(uri), &headers)
}

fn key(uri: &'static str, host: Option<&'static str>) -> Vec<u8> {
    target(uri, host).root(&name!("shop")).unwrap().key
}

#[test]
fn one_target_has_one_key_however_it_is_written() {
    let expected = key("http://shop.example/a?b", None);
    for (uri, host) in [
        ("/a?b", Some("shop.example")),
        ("/a?b", Some("SHOP.example:")),
        ("http://Shop.Example:80/a?b", None),
        ("http://shop.example:080/a?b", None),
        ("http://shop.example:/a?b", None),
        ("https://shop.example:443/a?b", None),
        ("http://shop.example/a?b", Some("shop.example")),
        ("http://shop.example/a?b", Some(" Shop.example:00080")),
        ("https://shop.example/a?b", Some("shop.example:443")),
    ] {
        assert_eq!(key(uri, host), expected, "{uri} {host:?}");
    }
    let port = key("/a?b", Some("shop.example:8080"));
    for host in ["shop.example:08080", "SHOP.example:8080"] {
        assert_eq!(key("/a?b", Some(host)), port, "{host}");
    }
    let address = key("/", Some("[2001:db8::1]"));
    for host in ["[2001:DB8::1]", "[2001:db8:0:0:0:0:0:1]:"] {
        assert_eq!(key("/", Some(host)), address, "{host}");
    }
    assert_eq!(key("http://shop.example", None), key("http://shop.example/", None));
}

#[test]
fn targets_that_differ_have_keys_that_differ() {
    let all = [
        key("http://shop.example/a", None),
        key("http://shop.example/a?", None),
        key("http://shop.example/a?b", None),
        key("http://shop.example/A", None),
        key("http://shop.example/a/", None),
        key("http://shop.example:81/a", None),
        key("http://shop.example:443/a", None),
        key("http://shop.examplea/", None),
        // On a connection whose scheme isn't known a port is never the default one.
        key("/a", Some("shop.example:80")),
        key("/a", Some("shop.example.")),
        key("/a", Some("[::1]")),
        // Which of the two the service goes by isn't known.
        key("http://shop.example/a", Some("other.example")),
        key("http://other.example/a", Some("shop.example")),
        target("http://shop.example/a", None).root(&name!("shop2")).unwrap().key,
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{i}");
    }
}

#[test]
fn what_does_not_parse_is_no_authority() {
    let root = |uri: &'static str, hosts: &[&'static [u8]]| {
        let host = |host: &&'static [u8]| (HOST, HeaderValue::from_bytes(host).unwrap());
        let (name, uri, headers) = (name!("shop"), Uri::from_static(uri), hosts.iter().map(host).collect());
        let kept = Target::of(&uri, &headers).root(&name);
        assert!(kept == TargetKey::of(&name, &uri, &headers), "one root, whether the target is kept or not: {hosts:?}");
        kept
    };
    let long: &'static [u8] = vec![b'a'; MAX_NAME + 1].leak();
    for host in [
        &b""[..],
        b":80",
        b"evil@shop.example",
        b"@shop.example",
        b"user:secret@shop.example",
        b"shop.example:x",
        b"shop.example:+80",
        b"shop.example:80:80",
        b"shop.example:65536",
        b"shop.example/a",
        b"shop.example?a",
        b"shop.example#a",
        b"shop example",
        b"sh%6fp.example",
        b"sh\xc3\xb6p.example",
        b"shop\\.example",
        b"[::1",
        b"[::1]x",
        b"[shop.example]",
        b"::1",
        long,
    ] {
        assert!(root("/", &[host]).is_none(), "{}", host.escape_ascii());
        assert!(root("http://shop.example/", &[host]).is_none(), "beside another one: {}", host.escape_ascii());
    }
    assert!(root("http://evil@shop.example/", &[]).is_none());
    // RFC 9112 §3.2.
    assert!(root("/", &[b"shop.example", b"shop.example"]).is_none());
    assert!(root("/", &[b"shop.example", b"other.example"]).is_none());
    assert!(root("/", &[]).is_some(), "as of HTTP/1.0, or of no connection");
}

#[test]
fn a_write_forgets_its_target_however_that_is_written() {
    let written = |uri, host| -> Vec<_> {
        target(uri, host).keys_to_remove(&name!("shop")).into_iter().map(|root| root.key).collect()
    };
    let plain = [None, Some(":80"), Some(":443")];
    let plain = plain.map(|port| key("/a", Some(format!("shop.example{}", port.unwrap_or_default()).leak())));
    for (uri, host) in [
        ("/a", Some("shop.example")),
        ("/a", Some("shop.example:")),
        ("/a", Some("shop.example:080")),
        ("/a", Some("shop.example:443")),
        ("https://shop.example/a", None),
        ("http://shop.example:80/a", Some("shop.example")),
        ("/a", Some("evil@shop.example")),
        ("http://evil@shop.example/a", None),
    ] {
        assert_eq!(written(uri, host), plain, "{uri} {host:?}");
    }
    assert_eq!(written("/a", Some("shop.example:81")), [key("/a", Some("shop.example:81"))]);
    let proxied = ("http://10.0.0.1/a", Some("shop.example"));
    assert_eq!(written(proxied.0, proxied.1), [key(proxied.0, proxied.1)]);
    assert_eq!(written("/a", None), [key("/a", None)]);
    assert_eq!(written("/a", Some("[")), [[0; 0]; 0], "nothing can be stored of it");
}

#[test]
fn no_two_paths_of_parts_make_one_key() {
    let created = |generation: u64, owner: Owner| {
        let mut key = key("/", None);
        key.extend_from_slice(&generation.to_le_bytes());
        owner.add_to(&mut key);
        key
    };
    let of = |text: &str| Owner::Principal(text.as_bytes().into());
    let all = [
        created(1, of("")),
        created(1, Owner::Anonymous),
        created(1, of("a")),
        created(1, of("ab")),
        created(2, of("a")),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{i}");
    }
}

#[test]
fn a_location_of_the_same_origin_is_found() {
    let base = || target("http://shop.example/a/b/c?d", None);
    for (location, found) in [
        ("http://shop.example/x", Some("http://shop.example/x")),
        ("http://SHOP.example:80/x#part", Some("http://shop.example/x")),
        ("//shop.example/x", Some("http://shop.example/x")),
        ("/x?y", Some("http://shop.example/x?y")),
        ("x", Some("http://shop.example/a/b/x")),
        ("./x", Some("http://shop.example/a/b/x")),
        ("../x", Some("http://shop.example/a/x")),
        ("../../../x", Some("http://shop.example/x")),
        ("..", Some("http://shop.example/a/")),
        ("?y", Some("http://shop.example/a/b/c?y")),
        ("", Some("http://shop.example/a/b/c")),
        ("https://shop.example/x", None),
        ("http://shop.example:81/x", None),
        ("http://other.example/x", None),
        ("//other.example/x", None),
    ] {
        let key = base()
            .resolve_reference(&HeaderValue::from_static(location))
            .map(|target| target.root(&name!("shop")).unwrap().key);
        assert_eq!(key, found.map(|uri| self::key(uri, None)), "{location}");
    }
    let both = target("http://10.0.0.1/a", Some("shop.example"));
    for location in ["http://10.0.0.1/x", "http://shop.example/x", "/x"] {
        let found = both.resolve_reference(&HeaderValue::from_static(location)).unwrap();
        assert_eq!(
            found.root(&name!("shop")).unwrap().key,
            key("http://10.0.0.1/x", Some("shop.example")),
            "{location}"
        );
    }
    let of_host = target("/a", Some("shop.example"));
    let found = of_host.resolve_reference(&HeaderValue::from_static("https://shop.example/x")).unwrap();
    assert_eq!(found.root(&name!("shop")).unwrap().key, key("/x", Some("shop.example")));
}

#[test]
fn nothing_of_a_request_is_shown() {
    let target = target("/secret", Some("secret"));
    let owner = Owner::Principal(b"secret".as_slice().into());
    let shown = format!("{target:?} {:?} {owner:?}", target.root(&name!("shop")));
    assert!(!shown.contains("secret"), "{shown}");
}
