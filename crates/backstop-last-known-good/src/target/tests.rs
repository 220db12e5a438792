use backstop_core::name;

use super::*;
use crate::key::Owner;

fn target(uri: &'static str, host: Option<&'static str>) -> Target {
    let headers = host.map(|host| (HOST, HeaderValue::from_static(host))).into_iter().collect();
    Target::of(&Uri::from_static(uri), &headers)
}

fn key(uri: &'static str, host: Option<&'static str>) -> Vec<u8> {
    target(uri, host).root(&name!("shop")).key
}

#[test]
fn one_target_has_one_key_however_it_is_written() {
    let expected = key("http://shop.example/a?b", None);
    for (uri, host) in [
        ("/a?b", Some("shop.example")),
        ("/a?b", Some("SHOP.example:80")),
        ("http://Shop.Example:80/a?b", None),
        ("https://shop.example:443/a?b", None),
        ("http://user@shop.example/a?b", None),
        ("http://shop.example/a?b", Some("shop.example")),
    ] {
        assert_eq!(key(uri, host), expected, "{uri} {host:?}");
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
        // Which of the two the service goes by isn't known.
        key("http://shop.example/a", Some("other.example")),
        key("http://other.example/a", Some("shop.example")),
        target("http://shop.example/a", None).root(&name!("shop2")).key,
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{i}");
    }
}

#[test]
fn two_hosts_are_another_target_than_either() {
    let headers = |hosts: &[&'static str]| hosts.iter().map(|host| (HOST, HeaderValue::from_static(host))).collect();
    let of = |hosts: &[&'static str]| {
        let (name, uri, headers) = (name!("shop"), Uri::from_static("/"), headers(hosts));
        let root = Target::of(&uri, &headers).root(&name);
        assert!(root == Root::of(&name, &uri, &headers), "one root, whether the target is kept or not: {hosts:?}");
        root.key
    };
    let all = [of(&["a"]), of(&["b"]), of(&["a", "b"]), of(&["b", "a"]), of(&["a", "b", "a"]), of(&[])];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{i}");
    }
    assert_eq!(of(&["a", "A"]), of(&["a"]));
}

#[test]
fn no_two_paths_of_parts_make_one_key() {
    let made = |generation: u64, owner: Owner| {
        let mut key = key("/", None);
        key.extend_from_slice(&generation.to_le_bytes());
        owner.add_to(&mut key);
        key
    };
    let of = |text: &str| Owner::Principal(text.as_bytes().into());
    let all = [made(1, of("")), made(1, Owner::Nobody), made(1, of("a")), made(1, of("ab")), made(2, of("a"))];
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
        let key = base().refer(&HeaderValue::from_static(location)).map(|target| target.root(&name!("shop")).key);
        assert_eq!(key, found.map(|uri| self::key(uri, None)), "{location}");
    }
    let both = target("http://10.0.0.1/a", Some("shop.example"));
    for location in ["http://10.0.0.1/x", "http://shop.example/x", "/x"] {
        let found = both.refer(&HeaderValue::from_static(location)).unwrap();
        assert_eq!(found.root(&name!("shop")).key, key("http://10.0.0.1/x", Some("shop.example")), "{location}");
    }
    let of_host = target("/a", Some("shop.example"));
    let found = of_host.refer(&HeaderValue::from_static("https://shop.example/x")).unwrap();
    assert_eq!(found.root(&name!("shop")).key, key("/x", Some("shop.example")));
}

#[test]
fn nothing_of_a_request_is_shown() {
    let target = target("/secret", Some("secret"));
    let owner = Owner::Principal(b"secret".as_slice().into());
    let shown = format!("{target:?} {:?} {owner:?}", target.root(&name!("shop")));
    assert!(!shown.contains("secret"), "{shown}");
}
