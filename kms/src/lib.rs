//! A key's life and the ciphertext format
