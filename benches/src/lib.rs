//! Microbenchmarks of Throng; the bodies are in `benches/`.
