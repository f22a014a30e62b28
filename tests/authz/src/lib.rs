//! Every endpoint of the API beside the action that policy decides and audit records for it, compared with a reviewed text file.
//!
//! After an intended change run the test with `UPDATE_EXPECT=1` and read the difference as carefully as the code: `NO ACTION` is an
//! endpoint without policy or record. Who may do which action is the matrix in `policy/tests`.

pub mod endpoints;
