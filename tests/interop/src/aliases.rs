//! What docs/operate/keys.md says of aliases, typed as a user types it.

use std::path::Path;

use crate::dev::Dev;

/// An alias stands for a key wherever one is used, and a move changes what is encrypted from then on.
pub fn typed(dev: &Dev, folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (message, old, new) = (path("order"), path("old.chy"), path("new.chy"));
    std::fs::write(&message, b"an order").expect("writes");
    for key in ["payments-2026", "payments-2027"] {
        dev.admin(&["key", "create", key]);
    }
    let created = dev.admin(&["alias", "create", "payments", "--key", "payments-2026"]);
    assert_eq!(created.trim(), "created alias/payments → payments-2026");
    assert_eq!(dev.refused(&["alias", "create", "payments", "--key", "payments-2027"]), 5, "taken");
    dev.admin(&["encrypt", "alias/payments", "--in", &message, "--out", &old]);
    let moved = dev.admin(&["alias", "move", "payments", "--key", "payments-2027"]);
    assert_eq!(moved.trim(), "moved alias/payments → payments-2027");
    let described = dev.admin(&["key", "describe", "alias/payments", "-o", "json"]);
    assert!(described.contains("namespaces/default/keys/payments-2027"), "{described}");
    dev.admin(&["encrypt", "namespaces/default/aliases/payments", "--in", &message, "--out", &new]);
    for (file, key) in [(&old, "payments-2026"), (&new, "payments-2027")] {
        let (out, decrypted) = (path("opened"), ["decrypt", "--in", file, "-o", "json", "--out"]);
        let told = dev.admin(&[&decrypted[..], &[&out]].concat());
        assert!(told.contains(&format!("namespaces/default/keys/{key}")), "{told}");
    }
    let rewrapped = dev.admin(&["rewrap", "--to", "alias/payments", "--in", &old, "--out", &new, "-o", "json"]);
    assert!(rewrapped.contains("namespaces/default/keys/payments-2027"), "{rewrapped}");
    dev.admin(&["data-key", "alias/payments"]);

    dev.admin(&["key", "create", "releases-1", "--algorithm", "ed25519"]);
    dev.admin(&["alias", "create", "releases", "--key", "releases-1"]);
    let signed = dev.admin(&["sign", "alias/releases", "--in", &message, "--out", &path("sig"), "-o", "json"]);
    assert!(signed.contains("namespaces/default/keys/releases-1"), "the key is told: {signed}");
    dev.admin(&["verify", "alias/releases", "--version", "1", "--in", &message, "--signature", &path("sig")]);
    dev.admin(&["key", "public-key", "alias/releases"]);

    let listed = dev.admin(&["alias", "list"]);
    assert!(listed.contains("alias/payments") && listed.contains("payments-2027"), "{listed}");
    assert!(dev.admin(&["alias", "describe", "payments", "-o", "yaml"]).contains("aliases/payments"));
    dev.admin(&["alias", "delete", "payments"]);
    assert_eq!(dev.refused(&["encrypt", "alias/payments", "--in", &message, "--out", &new]), 3);
    assert_eq!(dev.refused(&["key", "rotate", "alias/releases"]), 6, "a key is changed by its own name");
}
