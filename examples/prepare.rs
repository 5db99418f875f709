use rekindle::events::{Event, Events};
use rekindle::toolchain::*;
#[tokio::main]
async fn main() {
    let t = std::time::Instant::now();
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or("prepare".into());
    let (events, mut rx) = Events::channel();
    let options = Options {
        node_image: args.next(),
        cache: "/tmp/w/cache-dev".into(),
        state: "/tmp/w/state-dev".into(),
    };
    let cancel = tokio_util::sync::CancellationToken::new();
    let c2 = cancel.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        c2.cancel();
    });
    let printer = tokio::spawn(async move {
        let mut last = std::time::Instant::now();
        while let Some(e) = rx.recv().await {
            match e {
                Event::StepProgress { step, detail } => {
                    if last.elapsed().as_millis() > 3000 {
                        println!("   {step}: {detail}");
                        last = std::time::Instant::now();
                    }
                }
                other => println!("{:6.2} {other:?}", t.elapsed().as_secs_f32()),
            }
        }
    });
    match mode.as_str() {
        "prepare" => match prepare(&options, &events, &cancel).await {
            Ok(t) => println!("{t:#?}"),
            Err(e) => println!("ERROR {e}"),
        },
        "survey" => {
            for s in survey(&options, &cancel).await {
                println!("{} {:20} {}", if s.present { "ok" } else { "--" }, s.name, s.detail)
            }
        }
        "release" => println!("{:?}", release_docker(&options, &cancel).await),
        _ => {}
    }
    println!("took {:?}", t.elapsed());
    drop(events);
    let _ = printer.await;
}
