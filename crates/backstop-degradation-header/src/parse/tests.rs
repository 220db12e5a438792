use super::*;

fn of(fields: &[&[u8]]) -> Option<Vec<Member>> {
    let fields: Vec<_> = fields.iter().map(|field| HeaderValue::from_bytes(field).unwrap()).collect();
    list(&fields.iter().collect::<Vec<_>>())
}

fn read(fields: &[&str]) -> Option<Vec<String>> {
    let fields: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
    of(&fields).map(|members| members.into_iter().map(|member| member.text).collect())
}

#[test]
fn tokens_and_their_parameters_are_read_as_they_were_written() {
    for (fields, expected) in [
        (&["cached"][..], &["cached"][..]),
        (&[" cached "], &["cached"]),
        (&["a,b ,\tc"], &["a", "b", "c"]),
        (&["a", "b, c"], &["a", "b", "c"]),
        (&["ml_service/cached"], &["ml_service/cached"]),
        (&["*a!b:c"], &["*a!b:c"]),
        (&["cached;index=1;reason=circuit-open"], &["cached;index=1;reason=circuit-open"]),
        (&["a; x; y=?0;z=-1.25, b"], &["a; x; y=?0;z=-1.25", "b"]),
        (&[r#"a;said="x, \"y\" \\";n=1, b"#], &[r#"a;said="x, \"y\" \\";n=1"#, "b"]),
        (&[""], &[]),
        (&["", "a"], &["a"]),
    ] {
        assert_eq!(read(fields).unwrap(), expected, "{fields:?}");
    }
}

#[test]
fn what_is_no_list_of_tokens_is_refused() {
    let many = vec!["a"; MAX_MEMBERS + 1].join(",");
    for text in [
        "my cache",
        "a,",
        ",a",
        "a,,b",
        "1a",
        "\"a\"",
        "a=1",
        "a;",
        "a;X",
        "a;x=",
        "a;x=\"",
        "a;x=\"\\n\"",
        "a;x=?2",
        "a;x=1.",
        "a;x=.5",
        "a;x=1.2345",
        "a;x=1234567890123456",
        "a;x=-",
        "a;x=:YQ==:",
        "a;x=@1",
        "(a b)",
        "a\tb",
        &many,
    ] {
        assert_eq!(read(&[text]), None, "{text:?}");
    }
    assert_eq!(read(&vec!["a"; MAX_MEMBERS]).unwrap().len(), MAX_MEMBERS);
    assert_eq!(read(&vec!["a"; MAX_MEMBERS + 1]), None);
    assert_eq!(read(&[&"a".repeat(MAX_BYTES + 1)]), None);
    assert_eq!(of(&[b"caf\xc3\xa9"]), None);
}

#[test]
fn freshness_is_one_of_three_words_in_upper_and_lower_case() {
    let read = |text: &str| freshness(&of(&[text.as_bytes()]).unwrap()[0]);
    for (text, expected) in [
        ("fresh", Some(Freshness::Fresh)),
        ("Fresh", Some(Freshness::Fresh)),
        ("stale", Some(Freshness::Stale { age: None })),
        ("stale;age=912;max-age=600", Some(Freshness::stale(Duration::from_secs(912)))),
        ("STALE;age=-1", Some(Freshness::Stale { age: None })),
        ("degraded", Some(Freshness::Degraded)),
        ("old", None),
        ("stale-ish", None),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn anything_is_read_or_refused_without_a_panic_and_what_is_read_reads_the_same_again(text in "[ -~\t]{0,40}") {
        if let Some(members) = read(&[&text]) {
            let again = members.join(", ");
            proptest::prop_assert_eq!(read(&[&again]), Some(members));
        }
    }
}
