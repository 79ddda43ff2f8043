//! `include/throng.h` is the header that cbindgen makes of the source.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let [lib, event] = ["src/lib.rs", "src/event.rs"].map(|path| root.join(path));
    let bindings = cbindgen::Builder::new().with_config(config).with_src(lib).with_src(event).generate();
    let mut wanted = Vec::new();
    bindings.unwrap().write(&mut wanted);
    let path = root.join("include/throng.h");
    if std::env::var_os("THRONG_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let wanted = String::from_utf8(wanted).unwrap();
    assert!(found == wanted, "run `THRONG_BLESS=1 cargo test -p throng-capi`, and commit the header");
}
