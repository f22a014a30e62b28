//! One question, one answer
