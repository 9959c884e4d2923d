// Bench compares front-proxy with kcp-front-proxy on this machine: what a
// request costs, what stays resident, how long a start takes.
//
// Beside the two it measures a floor, a bare httputil.ReverseProxy with TLS on
// both sides that authenticates nobody, and no proxy at all. All of them stand
// before the same stand-in kcp (e2e/standin), which answers with a fixed object
// of 1 KiB and serves the lists and watches that the proxies read. Every one is
// a process of its own, and so is what makes the load; the CPU of a process is
// read from the operating system's clock of it, at the first and at the last
// moment that is counted.
//
// Times on a shared machine drift by a third between two runs. So the targets
// take turns, in short rounds, and only ratios of one round are compared: a
// ratio is the median of the rounds', with the least and the greatest beside it.
//
// The program starts itself for every part but the two proxies: its first
// argument then is the part's name (world, floor, load).
package main
