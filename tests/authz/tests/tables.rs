//! The tables as they are, against the tables as they were reviewed.

use authz::endpoints;
use expect_test::expect_file;

#[test]
fn every_endpoint_has_an_action() {
    expect_file!["../endpoints.out"].assert_eq(&endpoints::table().unwrap());
}
