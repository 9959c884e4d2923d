// Bench compares front-proxy with kcp-front-proxy on one machine: what a request costs, how
// much memory stays in use, and how long a start takes.
//
// For comparison it also measures the floor, which is a bare httputil.ReverseProxy with TLS on
// both sides that authenticates nobody, and requests without any proxy. Where HAProxy is
// installed, it is measured, too, with a configuration that does what it can of the same
// (haproxy.go). All of them use the
// same stand-in kcp (e2e/standin), which answers with a fixed object of 1 KiB and serves the
// lists and watches that the proxies read. Each of them is a separate process, and so is the
// program that makes the load. The CPU time of a process is read from the operating system
// before and after the measurement.
//
// Times on a shared machine may differ by a third between two runs. So the targets are measured
// in turns, in short rounds, and only ratios within a round are compared. A reported ratio is
// the median of those of all rounds, with what the middle half of them lies between.
//
// The program starts itself for every part except the two proxies. Its first argument is then
// the name of the part: world (the stand-in kcp), floor, load or attack.
package main
