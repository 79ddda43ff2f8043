//! Names the version of the C interface in the shared library: programs that were linked with one
//! version do not start with another.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // As `throng_version` has it: a program works with each library of its major version.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libthrong.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    }
}
