package harness

// ChangeImage makes a proxy that was the incumbent this repository's: the next
// Start has the same arguments and the same address, as when an operator
// changes nothing but the image.
func (p *Proxy) ChangeImage() { p.binary = p.env.config.Binaries.FrontProxy }
