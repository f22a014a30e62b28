//! Who a workload is, and the certificate that says so
