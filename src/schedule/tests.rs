use super::*;

fn shared() -> SharedKey {
    SharedKey::take(&mut [1; 32])
}

#[test]
fn a_node_and_a_named_scope_of_one_text_have_different_keys() {
    let root = root(&shared(), "r").unwrap();
    let path = crate::topic::TopicName::parse("a").unwrap().path(1);
    let suite = Suite::ChaCha20Poly1305;
    assert_ne!(path_scope(&root, path, suite).expose(), named_scope(&root, "a", suite).expose());
}

#[test]
fn session_ids_differ_by_the_counter_alone() {
    let scope = ScopeKey::take(&mut [3; 32]);
    let ids = [0, 1, 2].map(|made| session_id(&scope, &[0; 32], made, &[]));
    assert_ne!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

#[test]
fn parts_of_extra_are_one_string() {
    let scope = ScopeKey::take(&mut [3; 32]);
    let whole = session_id(&scope, &[0; 32], 0, &[b"client7"]);
    assert_eq!(session_id(&scope, &[0; 32], 0, &[b"client", b"7"]), whole);
}

#[test]
fn the_hash_wipes_its_state() {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Sha256>();
}
