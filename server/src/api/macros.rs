//! The part of a [`Mutation`](crate::request::mutation::Mutation) that is the same for every message.

/// Where a message keeps its request id, and whether it can be a dry run.
macro_rules! request_fields {
    () => {
        fn request_id(&mut self) -> &mut String {
            &mut self.request_id
        }
    };
    (dry) => {
        fn request_id(&mut self) -> &mut String {
            &mut self.request_id
        }

        fn validate_only(&self) -> bool {
            self.validate_only
        }
    };
}

pub(super) use request_fields;
