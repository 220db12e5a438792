//! A real Redis server is stopped, killed, paused and restarted.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    time::Duration,
};

use backstop_test::RedisServer;

fn connect(redis: &RedisServer) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(("127.0.0.1", redis.port())).unwrap())
}

/// The first line of the answer to a command.
fn ask(connection: &mut BufReader<TcpStream>, command: &str) -> std::io::Result<String> {
    connection.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

#[test]
fn a_killed_server_keeps_its_port_and_what_it_confirmed() {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut connection = connect(&redis);
    assert_eq!(ask(&mut connection, "INCR calls").unwrap(), ":1");
    redis.kill();
    assert!(ask(&mut connection, "INCR calls").map_or(true, |answer| answer.is_empty()));
    assert_eq!(TcpStream::connect(("127.0.0.1", redis.port())).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let url = redis.url();
    redis.restart();
    assert_eq!(redis.url(), url);
    assert_eq!(ask(&mut connect(&redis), "INCR calls").unwrap(), ":2");
    redis.stop();
    redis.restart();
    assert_eq!(ask(&mut connect(&redis), "INCR calls").unwrap(), ":3");
    redis.restart_empty();
    assert_eq!(ask(&mut connect(&redis), "INCR calls").unwrap(), ":1");
}

#[test]
fn a_paused_server_answers_nothing_until_it_goes_on_and_can_be_stopped() {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut connection = connect(&redis);
    redis.pause();
    let limit = Duration::from_millis(50);
    connection.get_ref().set_read_timeout(Some(limit)).unwrap();
    let unanswered = ask(&mut connection, "PING").unwrap_err();
    assert!(matches!(unanswered.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{unanswered}");
    redis.resume();
    connection.get_ref().set_read_timeout(None).unwrap();
    let mut answer = String::new();
    connection.read_line(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n");
    redis.pause();
    redis.stop();
    assert!(TcpStream::connect(("127.0.0.1", redis.port())).is_err());
}

#[test]
fn a_server_that_is_down_keeps_its_port() {
    let Some(mut down) = RedisServer::start() else { return };
    down.kill();
    let others = [(); 3].map(|()| RedisServer::start().unwrap());
    assert!(others.iter().all(|other| other.port() != down.port()));
    down.restart();
    assert_eq!(ask(&mut connect(&down), "PING").unwrap(), "+PONG");
}

#[test]
fn two_servers_share_neither_port_nor_data_and_take_options() {
    let (Some(one), Some(other)) = (RedisServer::start(), RedisServer::start_with(&["--maxmemory", "2mb"])) else {
        return;
    };
    assert_ne!(one.port(), other.port());
    assert_eq!(ask(&mut connect(&one), "SET a 1").unwrap(), "+OK");
    assert_eq!(ask(&mut connect(&other), "EXISTS a").unwrap(), ":0");
    let mut connection = connect(&other);
    assert_eq!(ask(&mut connection, "CONFIG GET maxmemory").unwrap(), "*2");
    let lines: Vec<_> = connection.lines().take(4).map(Result::unwrap).collect();
    assert_eq!(lines[3], "2097152");
}
