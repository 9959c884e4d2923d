package main

import (
	"bytes"
	"fmt"
	"html"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 900
	plotLeft   = 230
	plotRight  = 90
	barHeight  = 14
	groupSpace = 14
	plotTop    = 64
)

// colours of the targets.
var colours = []struct {
	target target
	colour string
}{{ours, "#1b7837"}, {incumbent, "#b2182b"}, {floor, "#878787"}}

// plot is an SVG with the CPU that a request costs: a bar for the median, a line
// for what the middle half of the rounds lies between.
func (r *results) plot() []byte {
	var rows []series
	most := 0.0
	for _, k := range r.rows() {
		if k.metric != metricCPU || k.unit != "µs/request" {
			continue
		}
		rows = append(rows, k)
		for _, c := range colours {
			most = max(most, r.of(k, c.target).high)
		}
	}
	height := plotTop + len(rows)*(len(colours)*barHeight+groupSpace) + 10
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", plotWidth, height)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" font-size=\"15\">CPU per request, µs: median, and the middle half of the rounds</text>\n")
	for i, c := range colours {
		x := 10 + i*160
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"34\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"45\">%s</text>\n", x, c.colour, x+18, html.EscapeString(string(c.target)))
	}
	y := plotTop
	for _, k := range rows {
		r.group(&b, k, y, (plotWidth-plotLeft-plotRight)/most)
		y += len(colours)*barHeight + groupSpace
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// group draws one series at y; scale is pixels a µs.
func (r *results) group(b *bytes.Buffer, k series, y int, scale float64) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", plotLeft-8, y+barHeight*2-3, html.EscapeString(k.measure))
	for i, c := range colours {
		s := r.of(k, c.target)
		if s.n == 0 {
			continue
		}
		top := y + i*barHeight
		middle := float64(top) + float64(barHeight)/2 - 1
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", plotLeft, top, s.median*scale, barHeight-2, c.colour)
		fmt.Fprintf(b, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"black\"/>\n", plotLeft+s.low*scale, plotLeft+s.high*scale, middle, middle)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" font-size=\"11\">%s</text>\n", plotLeft+s.high*scale+5, top+barHeight-4, number(s.median))
	}
}
