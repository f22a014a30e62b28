//! A node of the test cluster on a real TLS port: the services an agent calls, its pinned key, its trust document. It
//! keeps enrolled keys and spent tokens as the state machine does, in memory.
#![allow(clippy::expect_used, unreachable_pub, missing_docs, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use agent::Upstream;
use chancery_client::Address;
use chancery_client::tls::{AnySelfSigned, CertificateSlot, Identity, server_config, spki_of_peer};
use chancery_client::token::{JoinToken, TokenKind};
use chancery_client::trust::{Statement, TrustedNode, sign};
use crypto::sign::P256Signer;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::ca::v1 as ca_wire;
use proto::ca::v1::agent_service_server::{AgentService, AgentServiceServer};
use proto::ca::v1::svid_service_server::{SvidService, SvidServiceServer};
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use types::{AgentName, ClusterId, NodeId, SpkiHash, TokenId};

use crate::support::{Cluster, now};

/// The node. Clones are the same one.
#[derive(Clone)]
pub struct Node {
    pub cluster: Cluster,
    key: Arc<P256Signer>,
    identity: Identity,
    address: Address,
    enrolled: Arc<Mutex<BTreeSet<SpkiHash>>>,
    spent: Arc<Mutex<BTreeSet<TokenId>>>,
}

impl Node {
    pub async fn start(cluster: Cluster) -> Self {
        let identity = Identity::self_signed(&P256Signer::generate(), "nodes/1", now()).expect("an identity");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = Address::parse(&listener.local_addr().expect("an address").to_string()).expect("an address");
        let node = Self {
            cluster,
            key: Arc::new(P256Signer::generate()),
            identity,
            address,
            enrolled: Arc::default(),
            spent: Arc::default(),
        };
        let tls = server_config(CertificateSlot::new(&node.identity), AnySelfSigned::required()).expect("TLS");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = futures::stream::unfold((listener, acceptor), |(listener, acceptor)| async move {
            let (tcp, _) = listener.accept().await.ok()?;
            let connection = acceptor.accept(tcp).await.map(Connection);
            Some((connection, (listener, acceptor)))
        });
        let router = tonic::transport::Server::builder()
            .add_service(ClusterServiceServer::new(node.clone()))
            .add_service(AgentServiceServer::new(node.clone()))
            .add_service(SvidServiceServer::new(node.clone()));
        tokio::spawn(router.serve_with_incoming(Box::pin(connections)));
        node
    }

    pub fn token(&self) -> JoinToken {
        JoinToken {
            cluster_id: ClusterId([7; 16]),
            kind: TokenKind::Agent(AgentName::parse("dev").expect("a name")),
            endpoints: vec![self.address.clone()],
            cluster_key_hash: ca::spki_hash(&self.key.spki_der()),
            id: TokenId(crypto::entropy::array()),
            secret: crypto::entropy::secret(),
            expires: now().after(types::Millis::from_hours(1)),
        }
    }

    pub fn has_seen(&self, token: TokenId) -> bool {
        self.spent.lock().expect("not poisoned").contains(&token)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<SpkiHash, Status> {
        let key = *request.extensions().get::<SpkiHash>().expect("TLS asks every caller for a certificate");
        let known = self.enrolled.lock().expect("not poisoned").contains(&key);
        if known { Ok(key) } else { Err(refusal("CREDENTIAL_REJECTED")) }
    }

    fn state(&self) -> ca_wire::WatchResponse {
        let bundle = self.cluster.bundle();
        let entries = self.cluster.entries();
        ca_wire::WatchResponse {
            entries: entries.iter().map(|(name, entry)| wire_entry(name, entry)).collect(),
            bundle: Some(ca_wire::Bundle {
                trust_domain: bundle.trust_domain.to_string(),
                sequence: bundle.sequence,
                refresh_hint: None,
                x509_authorities: bundle.roots,
                document: String::new(),
            }),
            revision: 0,
        }
    }
}

fn refusal(reason: &str) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let details = ErrorDetails::with_error_info(reason, "chancery", []);
    Status::with_error_details(tonic::Code::Unauthenticated, "refused", details)
}

fn timestamp(time: types::Time) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(time.0 % 1_000 * 1_000_000).expect("below a second");
    Some(prost_types::Timestamp { seconds: i64::try_from(time.0 / 1_000).expect("this age"), nanos })
}

fn wire_entry(name: &str, entry: &ca::Entry) -> ca_wire::Entry {
    let spec = entry.spec();
    ca_wire::Entry {
        name: name.to_owned(),
        spiffe_id: spec.spiffe_id.to_string(),
        selectors: spec.selectors.iter().map(ToString::to_string).collect(),
        hint: spec.hint.clone(),
        create_time: timestamp(entry.created()),
        ..ca_wire::Entry::default()
    }
}

#[tonic::async_trait]
impl AgentService for Node {
    type WatchStream = BoxStream<'static, Result<ca_wire::WatchResponse, Status>>;

    async fn redeem_token(
        &self,
        request: Request<ca_wire::RedeemAgentTokenRequest>,
    ) -> Result<Response<ca_wire::Agent>, Status> {
        let key = *request.extensions().get::<SpkiHash>().expect("a key");
        let token = JoinToken::parse(&request.get_ref().token).map_err(|_| refusal("TOKEN_REJECTED"))?;
        assert!(types::RequestId::parse(&request.get_ref().request_id).is_some(), "a mutation has a request id");
        if !self.spent.lock().expect("not poisoned").insert(token.id) {
            return Err(refusal("TOKEN_REJECTED"));
        }
        self.enrolled.lock().expect("not poisoned").insert(key);
        Ok(Response::new(ca_wire::Agent { name: "agents/dev".to_owned(), ..ca_wire::Agent::default() }))
    }

    async fn watch(&self, request: Request<ca_wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.caller(&request)?;
        let states =
            futures::stream::unfold((self.clone(), self.cluster.changes()), |(node, mut changes)| async move {
                changes.changed().await.ok()?;
                Some((Ok(node.state()), (node, changes)))
            });
        Ok(Response::new(states.boxed()))
    }

    async fn ack_bundle(
        &self,
        request: Request<ca_wire::AckBundleRequest>,
    ) -> Result<Response<ca_wire::AckBundleResponse>, Status> {
        self.caller(&request)?;
        assert!(types::RequestId::parse(&request.get_ref().request_id).is_some(), "a mutation has a request id");
        self.cluster.acknowledge(request.get_ref().sequence).await.expect("noted");
        Ok(Response::new(ca_wire::AckBundleResponse {}))
    }

    async fn list_agents(
        &self,
        _request: Request<ca_wire::ListAgentsRequest>,
    ) -> Result<Response<ca_wire::ListAgentsResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn revoke_agent(
        &self,
        _request: Request<ca_wire::RevokeAgentRequest>,
    ) -> Result<Response<ca_wire::Agent>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }
}

#[tonic::async_trait]
impl SvidService for Node {
    async fn issue_x509_svid(
        &self,
        request: Request<ca_wire::IssueX509SvidRequest>,
    ) -> Result<Response<ca_wire::IssueX509SvidResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let issued = self.cluster.issue(&request.entry, request.csr).await;
        let issued = issued.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(ca_wire::IssueX509SvidResponse {
            chain: issued.chain,
            expire_time: timestamp(issued.expires),
            ..ca_wire::IssueX509SvidResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn get_trust_document(
        &self,
        _request: Request<wire::GetTrustDocumentRequest>,
    ) -> Result<Response<wire::TrustDocument>, Status> {
        let statement = Statement {
            cluster_id: ClusterId([7; 16]),
            generation: 0,
            sequence: 1,
            nodes: vec![TrustedNode { node: NodeId(1), spki: self.identity.spki(), api_address: self.address.clone() }],
            trust_domain: self.cluster.trust_domain(),
            x509_authorities: self.cluster.bundle().roots,
        };
        Ok(Response::new(sign(&statement, &self.key)))
    }

    async fn who_am_i(&self, request: Request<wire::WhoAmIRequest>) -> Result<Response<wire::WhoAmIResponse>, Status> {
        self.caller(&request)?;
        let principal = "agents/dev".to_owned();
        Ok(Response::new(wire::WhoAmIResponse { principal, ..wire::WhoAmIResponse::default() }))
    }

    async fn init(&self, _request: Request<wire::InitRequest>) -> Result<Response<wire::InitResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::ClusterStatus>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn create_join_token(
        &self,
        _request: Request<wire::CreateJoinTokenRequest>,
    ) -> Result<Response<wire::CreateJoinTokenResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn redeem_node_token(
        &self,
        _request: Request<wire::RedeemNodeTokenRequest>,
    ) -> Result<Response<wire::RedeemNodeTokenResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn transfer_leader(
        &self,
        _request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn drain_node(
        &self,
        _request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn remove_node(
        &self,
        _request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn promote_node(
        &self,
        _request: Request<wire::PromoteNodeRequest>,
    ) -> Result<Response<wire::PromoteNodeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn set_lease(
        &self,
        _request: Request<wire::SetLeaseRequest>,
    ) -> Result<Response<wire::SetLeaseResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn reset_time(
        &self,
        _request: Request<wire::ResetTimeRequest>,
    ) -> Result<Response<wire::ResetTimeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn confirm_time(
        &self,
        _request: Request<wire::ConfirmTimeRequest>,
    ) -> Result<Response<wire::ConfirmTimeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }

    async fn upgrade(
        &self,
        _request: Request<wire::UpgradeRequest>,
    ) -> Result<Response<wire::UpgradeResponse>, Status> {
        Err(Status::unimplemented("no agent asks this"))
    }
}

/// A TLS connection that knows whose key is at its other end.
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = SpkiHash;

    fn connect_info(&self) -> SpkiHash {
        spki_of_peer(self.0.get_ref().1).expect("a certificate was demanded")
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
