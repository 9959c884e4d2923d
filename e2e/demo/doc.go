// Demo starts a kcp of two shards, an OIDC issuer and front-proxy on this
// machine, lets a workspace type bring its own users, and shows one of them at
// work and refused. It runs until Ctrl-C (or until the process that started it
// is gone) and leaves no process and no file behind.
//
// With --once it ends after having shown everything; its exit status says
// whether all went as it should.
package main
