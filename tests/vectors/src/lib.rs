//! Ciphertext vectors
