//! The arithmetic of Gaussian avatars. See `ARCHITECTURE.md` at the repository root.
