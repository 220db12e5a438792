use super::*;

const LONG: Duration = Duration::from_secs(60);

fn put(store: &MokaStore, key: &str, len: usize) {
    tokio_test::block_on(store.put(key.as_bytes(), vec![0; len].into(), LONG)).unwrap();
}

#[test]
fn what_is_put_is_there_until_it_is_removed() {
    let store = MokaStore::new(1 << 20, 100).unwrap();
    let get = || tokio_test::block_on(store.get(b"a")).unwrap();
    assert_eq!(get(), None);
    put(&store, "a", 3);
    assert_eq!(get().unwrap(), &[0; 3][..]);
    tokio_test::block_on(store.remove(b"a")).unwrap();
    assert_eq!(get(), None);
}

#[test]
fn it_is_bounded_in_bytes_and_in_number() {
    let store = MokaStore::new(10_000, 100).unwrap();
    (0..1000).for_each(|i| put(&store, &i.to_string(), 1));
    assert!((1..=100).contains(&store.len()), "{}", store.len());
    (0..1000).for_each(|i| put(&store, &i.to_string(), 2_000));
    assert!((1..=10_000).contains(&store.bytes()), "{}", store.bytes());
    assert!((1..=4).contains(&store.len()), "{}", store.len());
    store.clear();
    assert!(store.is_empty());
}

#[test]
fn bounds_that_hold_nothing_are_refused() {
    let field = |bytes, entries| MokaStore::new(bytes, entries).unwrap_err().field;
    assert_eq!(field(0, 1), "max_bytes");
    assert_eq!(field(u64::MAX, 1), "max_bytes");
    assert_eq!(field(10, 0), "max_entries");
    assert_eq!(field(10, 11), "max_entries");
}
