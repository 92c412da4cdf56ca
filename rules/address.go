package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Address is one address of a target: a network and a port, or a host name
// and a port. A policy never resolves names; see Policy.WithAddresses.
type Address struct {
	Host   string       // a host name in lower case; empty when Prefix is set
	Prefix netip.Prefix // a single address is a /32 or /128; IPv4 is never mapped
	Port   uint16       // 0: any
}

func (a Address) String() string {
	port := "*"
	if a.Port != 0 {
		port = strconv.Itoa(int(a.Port))
	}
	switch {
	case a.Host != "":
		return a.Host + ":" + port
	case !a.Prefix.IsSingleIP() && a.Prefix.Addr().Is6():
		return fmt.Sprintf("[%s]:%s", a.Prefix, port)
	case !a.Prefix.IsSingleIP():
		return a.Prefix.String() + ":" + port
	case a.Prefix.Addr().Is6():
		return fmt.Sprintf("[%s]:%s", a.Prefix.Addr(), port)
	}
	return a.Prefix.Addr().String() + ":" + port
}

var hostShape = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?$`)

// parseAddress reads "host:port", "ip:port", "cidr:port", "[v6]:port" or
// "[v6/bits]:port"; the port may be "*".
func parseAddress(s string) (Address, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return Address{}, errors.New("no port")
	}
	host, port := s[:colon], s[colon+1:]
	var a Address
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '+' {
			return Address{}, errors.New("the port is not 1 to 65535 or *")
		}
		a.Port = uint16(n)
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return Address{}, errors.New("a bracket is not closed")
		}
	} else if strings.Contains(host, ":") {
		return Address{}, errors.New("an IPv6 address needs brackets")
	}
	var err error
	if a.Prefix, err = parseNetwork(inner); err == nil {
		return a, nil
	}
	if bracketed || strings.Contains(inner, "/") {
		return Address{}, err
	}
	err = parseHost(inner, &a)
	return a, err
}

func parseHost(s string, a *Address) error {
	a.Host = strings.ToLower(s)
	if len(s) > 253 || !hostShape.MatchString(a.Host) {
		return errors.New("not a host name or address")
	}
	a.Host = strings.TrimSuffix(a.Host, ".")
	last := a.Host[strings.LastIndexByte(a.Host, '.')+1:]
	if _, err := strconv.Atoi(last); err == nil { // "10.0.0.300" is no name
		return errors.New("not an IPv4 address")
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return netip.Prefix{}, errors.New("an address with a zone")
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("not a network such as 10.0.0.0/24")
	}
	if p.Addr().Is4In6() {
		return p, errors.New("an IPv4-mapped network; write it as IPv4")
	}
	if p.Masked() != p {
		return p, fmt.Errorf("bits below the mask; the network is %s", p.Masked())
	}
	return p, nil
}
