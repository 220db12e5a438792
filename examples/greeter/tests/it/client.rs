//! The client's stack, with calls of each kind.

use std::time::Duration;

use greeter::{client, outage::LocalServer, pb::HelloRequest, pb::greeter_client::GreeterClient};
use tokio::net::{TcpListener, TcpSocket};
use tonic::{
    codegen::tokio_stream,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

fn hello(name: &str) -> HelloRequest {
    HelloRequest { name: name.to_owned() }
}

async fn server(from: &'static str) -> LocalServer {
    LocalServer::start(from, TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

/// A channel to a port that refuses connections as long as the socket exists.
fn refused() -> (TcpSocket, Channel) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

fn client(primary: Channel, replica: Channel) -> GreeterClient<impl client::Stack> {
    client::connect(primary, replica, Duration::from_secs(60)).unwrap().0
}

fn source(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("x-fallback-source").map(|source| source.to_str().unwrap())
}

#[tokio::test]
async fn calls_of_each_kind_reach_the_primary() {
    let (primary, (_socket, replica)) = (server("the primary").await, refused());
    let mut client = client(primary.channel().unwrap(), replica);
    assert_calls(&mut client, "the primary", None).await;
}

#[tokio::test]
async fn calls_of_each_kind_reach_the_replica_if_the_primary_certainly_did_not_process_them() {
    let ((_socket, primary), replica) = (refused(), server("the replica").await);
    let mut client = client(primary, replica.channel().unwrap());
    assert_calls(&mut client, "the replica", Some("replica")).await;
}

async fn assert_calls(client: &mut GreeterClient<impl client::Stack>, from: &str, labelled: Option<&str>) {
    let greeting = |names: &str| format!("Hello, {names}! (from {from})");
    let both = || tokio_stream::iter([hello("Ada"), hello("Grace")]);

    let reply = client.say_hello(hello("Ada")).await.unwrap();
    assert_eq!(source(reply.metadata()), labelled);
    assert_eq!(reply.into_inner().message, greeting("Ada"));

    let reply = client.greet_all(both()).await.unwrap();
    assert_eq!(source(reply.metadata()), labelled);
    assert_eq!(reply.into_inner().message, greeting("Ada and Grace"));

    let replies = client.greet_often(hello("Ada")).await.unwrap();
    assert_eq!(source(replies.metadata()), labelled);
    let mut replies = replies.into_inner();
    for _ in 0..3 {
        assert_eq!(replies.message().await.unwrap().unwrap().message, greeting("Ada"));
    }
    assert!(replies.message().await.unwrap().is_none());

    let replies = client.chat(both()).await.unwrap();
    assert_eq!(source(replies.metadata()), labelled);
    let mut replies = replies.into_inner();
    for name in ["Ada", "Grace"] {
        assert_eq!(replies.message().await.unwrap().unwrap().message, greeting(name));
    }
    assert!(replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_call_that_may_have_been_processed_goes_to_the_replica_only_if_it_reads() {
    // Accepts connections into its backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let replica = server("the replica").await;
    let primary = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = client(primary, replica.channel().unwrap());

    let reply = client.say_hello(hello("Ada")).await.unwrap();
    assert_eq!(source(reply.metadata()), Some("replica"));
    let refused = client.greet_all(tokio_stream::iter([hello("Ada")])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused:?}");
}
