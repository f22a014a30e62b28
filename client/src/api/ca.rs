//! Workload identities.

use proto::ca::v1::agent_service_client::AgentServiceClient;
use proto::ca::v1::authority_service_client::AuthorityServiceClient;
use proto::ca::v1::bundle_service_client::BundleServiceClient;
use proto::ca::v1::entry_service_client::EntryServiceClient;
use proto::ca::v1::svid_service_client::SvidServiceClient;
use proto::ca::v1::{
    AckBundleRequest, AckBundleResponse, Agent, Bundle, CreateEntryRequest, DeleteEntryRequest, DeleteEntryResponse,
    Entry, GetBundleRequest, GetEntryRequest, IssueX509SvidRequest, IssueX509SvidResponse, ListAgentsRequest,
    ListAgentsResponse, ListAuthoritiesRequest, ListAuthoritiesResponse, ListEntriesRequest, ListEntriesResponse,
    RedeemAgentTokenRequest, RevokeAgentRequest, UpdateEntryRequest, WatchRequest, WatchResponse,
};

use super::service;

service! {
    /// Registrations of workloads.
    Entries over EntryServiceClient, from entries;
    /// Registers a workload.
    mutate create(CreateEntryRequest) -> Entry = create_entry;
    /// Replaces what a registration says.
    mutate update(UpdateEntryRequest) -> Entry = update_entry;
    /// Removes a registration.
    mutate delete(DeleteEntryRequest) -> DeleteEntryResponse = delete_entry;
    /// Describes one registration.
    read get(GetEntryRequest) -> Entry = get_entry;
    /// One page of the registrations of a namespace, by name.
    read list(ListEntriesRequest) -> ListEntriesResponse = list_entries;
}

service! {
    /// Agents.
    Agents over AgentServiceClient, from agents;
    /// Enrols the key of this client's identity with a join token.
    mutate redeem_token(RedeemAgentTokenRequest) -> Agent = redeem_token;
    /// One page of the agents, by name.
    read list(ListAgentsRequest) -> ListAgentsResponse = list_agents;
    /// Bans an agent.
    mutate revoke(RevokeAgentRequest) -> Agent = revoke_agent;
    /// The calling agent's entries and bundle, again on every change.
    stream watch(WatchRequest) -> WatchResponse = watch;
    /// Says that the calling agent has pushed a bundle to all its streams.
    local ack_bundle(AckBundleRequest) -> AckBundleResponse = ack_bundle;
}

service! {
    /// Issuance, for agents.
    Svids over SvidServiceClient, from svids;
    /// Signs an X.509-SVID for an entry of the calling agent.
    read issue_x509(IssueX509SvidRequest) -> IssueX509SvidResponse = issue_x509_svid;
}

service! {
    /// The trust bundle.
    Bundles over BundleServiceClient, from bundles;
    /// The bundle in force.
    read get(GetBundleRequest) -> Bundle = get_bundle;
}

service! {
    /// The voters' X.509 authorities.
    Authorities over AuthorityServiceClient, from authorities;
    /// All of them.
    read list(ListAuthoritiesRequest) -> ListAuthoritiesResponse = list_authorities;
}
